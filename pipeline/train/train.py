"""The stage's front door: fit one candidate on the cycle's whole panel, as the model that may publish tomorrow."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import models, tracking
from pipeline.cycle import Cycle
from pipeline.models import Forecaster, Progress
from pipeline.preprocess import Panel, load_panel
from pipeline.stage import StageReport

__all__ = ["Curve", "TrainReport", "fit", "run"]

Curve = dict[str, list[tuple[int, float]]]
"""Points (step, value) of each metric of a learning curve."""


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
    """Fit a candidate and store it in its MLflow run.

    Raises:
        ConfigError: if the market has no such candidate.
        StageError: if the cycle was not begun or has no panel.
    """
    cycle.market.candidate(candidate)
    panel, inputs = load_panel(cycle)
    record = tracking.candidate_run(cycle, candidate)
    started = time.perf_counter()
    forecaster, curve = fit(cycle, candidate, panel, progress)
    seconds = time.perf_counter() - started
    record.log_inputs(inputs)
    record.log_curve({f"train/{name}": points for name, points in curve.items()})
    record.log_metrics({"train/seconds": seconds})
    return TrainReport(candidate, record.run_id, record.log_forecaster(forecaster), seconds)


def fit(cycle: Cycle, candidate: str, panel: Panel, progress: Progress | None = None) -> tuple[Forecaster, Curve]:
    """Return a candidate fitted on a panel, and its learning curve.

    Raises:
        ConfigError: if the market has no such candidate.
    """
    settings = cycle.market.candidate(candidate)
    curve: Curve = defaultdict(list)

    def record(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            curve[name].append((step, float(value)))
        if progress is not None:
            progress(step, steps, metrics)

    return models.build(settings, cycle.seed).fit(panel, progress=record), dict(curve)
