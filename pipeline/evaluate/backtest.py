"""Rolling-origin backtest of one candidate.

Refit policy, the same for every candidate: it is fitted once, on what was known at the first origin; at later origins
it sees the new observations but learns no new parameters.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline import tracking
from pipeline.cycle import Cycle
from pipeline.evaluate.origins import origins
from pipeline.models import Progress
from pipeline.models.frame import long_frame
from pipeline.preprocess import load_panel
from pipeline.provenance import provenance
from pipeline.stage import StageReport
from pipeline.train import fit

__all__ = ["BacktestReport", "run"]


@dataclass(frozen=True)
class BacktestReport(StageReport):
    """Forecasts of a candidate at the backtest's origins."""

    candidate: str
    mlflow_run_id: str
    rows: int
    version: int

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return f"{self.candidate}: {self.rows:,} backtest forecasts."


def run(cycle: Cycle, candidate: str, progress: Progress | None = None) -> BacktestReport:
    """Forecast from every origin and commit the forecasts beside what came.

    Raises:
        ConfigError: if the market has no such candidate, or its history is too short.
        StageError: if the cycle was not begun or has no panel.
        FencedError: if another attempt has committed the same backtest meanwhile.
    """
    cycle.market.candidate(candidate)
    attempt = cycle.lake.attempt("backtests", cycle=cycle.as_of, candidate=candidate)
    panel, _ = load_panel(cycle)
    record = tracking.candidate_run(cycle, candidate)
    days = origins(cycle)
    forecaster, curve = fit(cycle, candidate, panel.until(days[0]), progress)
    frames = []
    for origin in days:
        forecast = forecaster.predict(panel, origin, panel.horizon)
        after = panel.periods_until(origin)
        came = slice(after, after + panel.horizon)
        actual = np.where(panel.observed[:, came], panel.y[:, came], np.nan).reshape(-1)
        frames.append(long_frame(forecast).append_column("y", pa.array(actual, from_pandas=True)))
    commit = attempt.commit(pa.concat_tables(frames), **provenance())
    record.log_curve({f"backtest/{name}": points for name, points in curve.items()})
    return BacktestReport(candidate, record.run_id, commit.rows, commit.version)
