"""The stage's front door: build the cycle's panel from what was known on the as-of day and write its snapshot."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.preprocess.build import build_panel
from pipeline.preprocess.panel import Panel
from pipeline.stage import StageReport

__all__ = ["PreprocessReport", "load_panel", "run"]

_INPUTS = "inputs.json"


@dataclass(frozen=True)
class PreprocessReport(StageReport):
    """The snapshot's size and identity, and the table versions that it was built from."""

    series: int
    periods: int
    frequency: str
    fingerprint: str
    inputs: dict[str, int]

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        unit = "weeks" if self.frequency == "W" else "days"
        return f"Panel {self.fingerprint}: {self.series:,} series over {self.periods:,} {unit}."


def run(cycle: Cycle) -> PreprocessReport:
    """Write the cycle's panel; an equal one that is already there stays untouched.

    Raises:
        StageError: if the sales of this market have not been validated or leave no series to forecast.
    """
    versions = {f"facts/{feed}": cycle.lake.version(f"facts/{feed}") for feed in cycle.market.feeds}
    inputs = {table: version for table, version in versions.items() if version is not None}
    missing = [table for table in versions if table not in inputs]
    if missing:
        msg = f"{cycle.key} has no {', '.join(missing)} in the lake; run 'trendmill collect' and 'validate' first."
        raise StageError(msg)
    panel = build_panel(cycle)
    fingerprint = panel.fingerprint()
    if _fingerprint_of(cycle.snapshot_dir) != fingerprint:
        _replace(cycle.snapshot_dir, panel)
    (cycle.snapshot_dir / _INPUTS).write_text(
        json.dumps({"fingerprint": fingerprint, "inputs": inputs}, indent=1), encoding="utf-8"
    )
    return PreprocessReport(len(panel.unique_id), panel.y.shape[1], panel.frequency, fingerprint, inputs)


def load_panel(cycle: Cycle) -> tuple[Panel, dict[str, str]]:
    """Return the cycle's panel and what it was built from, for the record.

    Raises:
        StageError: if the cycle has not been preprocessed.
    """
    try:
        record = json.loads((cycle.snapshot_dir / _INPUTS).read_text(encoding="utf-8"))
        panel = Panel.load(cycle.snapshot_dir)
    except FileNotFoundError as exc:
        msg = f"{cycle.key} has no panel yet; run 'trendmill preprocess' for it first."
        raise StageError(msg) from exc
    versions = {table: str(version) for table, version in record["inputs"].items()}
    return panel, {"panel": record["fingerprint"]} | versions


def _fingerprint_of(folder: Path) -> str | None:
    if not (folder / _INPUTS).exists():
        return None
    try:
        return Panel.load(folder).fingerprint()
    except (OSError, ValueError):
        return None


def _replace(folder: Path, panel: Panel) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = folder.with_name(f".{folder.name}.{uuid4().hex}")
    panel.save(fresh)
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
