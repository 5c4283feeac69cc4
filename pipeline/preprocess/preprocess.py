"""The stage's front door: build the cycle's panel from what was known on the as-of day and write its snapshot."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.preprocess.build import build_panel
from pipeline.preprocess.facts import facts_of, versions_of
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

    A feed of which nothing was known on the as-of day is absent from the panel, as if the market did not have it.

    Raises:
        StageError: if the sales of this market have not been validated or leave no series to forecast.
    """
    versions = versions_of(cycle)
    feeds = facts_of(cycle, versions)
    if "sales" not in feeds:
        msg = (
            f"{cycle.key} has no facts/sales in the lake that were known on that day; run 'trendmill collect' and "
            f"'trendmill validate' for it first."
        )
        raise StageError(msg)
    panel = build_panel(cycle, feeds)
    inputs = {f"facts/{feed}": version for feed, version in versions.items()}
    record = {"fingerprint": panel.fingerprint(), "inputs": inputs}
    if _fingerprint_of(cycle.snapshot_dir) != record["fingerprint"]:
        _replace(cycle.snapshot_dir, panel, record)
    elif _recorded(cycle.snapshot_dir) != record:
        _write_record(cycle.snapshot_dir, record)
    return PreprocessReport(len(panel.unique_id), panel.y.shape[1], panel.frequency, panel.fingerprint(), inputs)


def load_panel(cycle: Cycle) -> tuple[Panel, dict[str, str]]:
    """Return the cycle's panel and what it was built from, for the record.

    Raises:
        StageError: if the cycle has not been preprocessed.
    """
    try:
        record = _recorded(cycle.snapshot_dir)
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


def _recorded(folder: Path) -> dict[str, Any]:
    """Return what a snapshot was built from."""
    found: dict[str, Any] = json.loads((folder / _INPUTS).read_text(encoding="utf-8"))
    return found


def _replace(folder: Path, panel: Panel, record: Mapping[str, Any]) -> None:
    """Let a panel and the record of what it was built from stand in the folder, both in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = _beside(folder)
    panel.save(fresh)
    _write_record(fresh, record)
    if folder.exists():
        replaced = folder.rename(_beside(folder))
        fresh.rename(folder)
        shutil.rmtree(replaced)
    else:
        fresh.rename(folder)


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what a snapshot was built from; whoever reads sees the old record or the new one whole."""
    fresh = _beside(folder / _INPUTS)
    fresh.write_text(json.dumps(record, indent=1), encoding="utf-8")
    fresh.replace(folder / _INPUTS)


def _beside(path: Path) -> Path:
    """Return a hidden path of its own beside another, for what is not whole yet or no more."""
    return path.with_name(f".{path.name}.{uuid4().hex}")
