"""The stage's front door: forecast the past with one candidate, from rolling origins.

Refit policy, the same for every candidate: it is fitted once, on what was known at the first origin; at later origins
it sees the new observations but learns no new parameters. An ensemble's weights and every candidate's calibration are
taken, at each origin, from the forecasts of the origins before it, as far as their demand was known by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline import tracking
from pipeline.backtest.origins import origins
from pipeline.backtest.read import past_forecasts
from pipeline.candidates import EnsembleSettings
from pipeline.cycle import Cycle
from pipeline.models import Forecast, Progress
from pipeline.models.calibration import calibrated_forward
from pipeline.models.ensemble import averaged_forward
from pipeline.models.fitting import fitted
from pipeline.models.frame import RAW_COLUMNS, long_frame
from pipeline.models.past import PastForecasts
from pipeline.preprocess import Panel, load_panel
from pipeline.provenance import provenance
from pipeline.stage import StageReport

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
    """Forecast from every origin and commit the forecasts, as they are and calibrated, beside what came.

    Raises:
        ConfigError: if the market has no such candidate, or its history is too short.
        StageError: if the cycle was not begun or has no panel, or a member of an ensemble has no backtest.
        FencedError: if another attempt has committed the same backtest meanwhile.
    """
    settings = cycle.market.candidate(candidate)
    attempt = cycle.lake.attempt("backtests", cycle=cycle.as_of, candidate=candidate)
    panel, _ = load_panel(cycle)
    record = tracking.candidate_run(cycle, candidate)
    if isinstance(settings, EnsembleSettings):
        past = [past_forecasts(cycle, member, panel) for member in settings.members]
        forecasts = averaged_forward(past, panel, settings.picks)
    else:
        days = origins(cycle)
        forecaster, curve = fitted(settings, cycle.seed, panel.until(days[0]), progress)
        forecasts = [forecaster.predict(panel, origin, panel.horizon) for origin in days]
        record.log_curve({f"backtest/{name}": points for name, points in curve.items()})
    commit = attempt.commit(_rows(panel, forecasts), **provenance())
    return BacktestReport(candidate, record.run_id, commit.rows, commit.version)


def _rows(panel: Panel, forecasts: Sequence[Forecast]) -> pa.Table:
    """Return the calibrated forecasts as a long frame, with demand and the quantiles before calibration beside them."""
    past = PastForecasts.beside(panel, forecasts)
    frames = []
    for forecast, calibrated, y in zip(forecasts, calibrated_forward(past, panel), past.y, strict=True):
        frame = long_frame(calibrated).append_column("y", pa.array(y.reshape(-1), from_pandas=True))
        for position, name in enumerate(RAW_COLUMNS):
            frame = frame.append_column(name, pa.array(forecast.quantiles[:, :, position].reshape(-1)))
        frames.append(frame)
    return pa.concat_tables(frames)
