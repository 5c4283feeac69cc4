"""The stage's front door: forecast from the as-of day with the version that won, and archive the vintage."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline import tracking
from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.models.frame import long_frame
from pipeline.preprocess import load_panel
from pipeline.provenance import provenance
from pipeline.stage import StageReport

__all__ = ["PublishReport", "run"]


@dataclass(frozen=True)
class PublishReport(StageReport):
    """The vintage of a cycle."""

    candidate: str
    version: int
    """Of the registered model."""
    series: int
    rows: int
    table_version: int

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return (
            f"Published {self.rows:,} rows for {self.series:,} series with version {self.version} ({self.candidate})."
        )


def run(cycle: Cycle) -> PublishReport:
    """Write the cycle's vintage to the archive of forecasts; other cycles' vintages stay as they are.

    Raises:
        StageError: if no version was registered for this cycle, or its forecasts are not finite.
        FencedError: if another attempt has committed the same vintage meanwhile.
    """
    attempt = cycle.lake.attempt("forecasts", cycle=cycle.as_of)
    chosen = cycle.lake.read("champions", cycle=cycle.as_of).to_pylist() if cycle.lake.exists("champions") else []
    if not chosen:
        msg = f"{cycle.key} has no registered winner yet; run 'trendmill promote' for it first."
        raise StageError(msg)
    candidate, version = chosen[0]["candidate"], chosen[0]["version"]
    panel, inputs = load_panel(cycle)
    forecast = tracking.load_version(cycle, version).predict(panel, cycle.as_of, panel.horizon)
    if not (np.isfinite(forecast.quantiles).all() and np.isfinite(forecast.mean).all()):
        msg = (
            f"The forecasts of '{candidate}' (version {version}) for {cycle.key} are not finite; nothing was published."
        )
        raise StageError(msg)
    rows = long_frame(forecast)
    rows = rows.append_column("candidate", pa.array([candidate] * rows.num_rows))
    commit = attempt.commit(rows, **provenance(), panel=inputs["panel"], model_version=str(version))
    return PublishReport(candidate, version, len(forecast.unique_id), commit.rows, commit.version)
