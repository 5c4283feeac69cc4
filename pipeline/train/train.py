"""The stage's front door: fit one candidate on the cycle's whole panel, as the model that may publish tomorrow."""

import time
from dataclasses import dataclass

from pipeline import tracking
from pipeline.backtest import past_forecasts
from pipeline.candidates import EnsembleSettings
from pipeline.cycle import Cycle
from pipeline.models import Calibrated, Calibration, Forecaster, Progress
from pipeline.models.calibration import segments_of
from pipeline.models.ensemble import Ensemble, greedy_weights
from pipeline.models.fitting import Curve, fitted
from pipeline.preprocess import Panel, load_panel
from pipeline.stage import StageReport

__all__ = ["TrainReport", "run"]


@dataclass(frozen=True)
class TrainReport(StageReport):
    """A fitted candidate and where MLflow keeps it."""

    candidate: str
    mlflow_run_id: str
    model_uri: str
    seconds: float

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return f"{self.candidate}: fitted in {self.seconds:.1f} s."


def run(cycle: Cycle, candidate: str, progress: Progress | None = None) -> TrainReport:
    """Fit a candidate, calibrate it by its backtest, and store it in its MLflow run.

    An ensemble takes its members as they have been trained in this cycle, and its weights from their backtests.

    Raises:
        ConfigError: if the market has no such candidate.
        StageError: if the cycle was not begun or has no panel, or if a backtest or a trained member is missing.
    """
    settings = cycle.market.candidate(candidate)
    panel, inputs = load_panel(cycle)
    past = past_forecasts(cycle, candidate, panel)
    record = tracking.candidate_run(cycle, candidate)
    started = time.perf_counter()
    forecaster: Forecaster
    curve: Curve = {}
    if isinstance(settings, EnsembleSettings):
        forecaster = _assembled(cycle, settings, panel)
        record.log_metrics({f"weight/{name}": weight for name, weight in forecaster.weights.items()})
    else:
        forecaster, curve = fitted(settings, cycle.seed, panel, progress)
    seconds = time.perf_counter() - started
    record.log_inputs(inputs)
    record.log_curve({f"train/{name}": points for name, points in curve.items()})
    record.log_metrics({"train/seconds": seconds})
    calibrated = Calibrated(forecaster, Calibration.of(past, segments_of(panel, past.ends)))
    return TrainReport(candidate, record.run_id, record.log_forecaster(calibrated), seconds)


def _assembled(cycle: Cycle, settings: EnsembleSettings, panel: Panel) -> Ensemble:
    """Return the ensemble of members that this cycle has trained already, weighed by their backtests."""
    names = list(settings.members)
    weights = greedy_weights([past_forecasts(cycle, name, panel) for name in names], settings.picks)
    shares = dict(zip(names, weights.tolist(), strict=True))
    members = {name: _uncalibrated(tracking.load_candidate(cycle, name)) for name in names if shares[name] > 0}
    return Ensemble.of(settings, cycle.seed, members, shares)


def _uncalibrated(forecaster: Forecaster) -> Forecaster:
    """Return what is inside a calibration: an ensemble is calibrated as a whole."""
    return forecaster.forecaster if isinstance(forecaster, Calibrated) else forecaster
