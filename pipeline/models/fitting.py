"""Fitting a forecaster and keeping its learning curve."""

from collections import defaultdict
from collections.abc import Mapping

from pipeline import models
from pipeline.candidates import CandidateSettings
from pipeline.models.base import Forecaster, Progress
from pipeline.preprocess.panel import Panel

__all__ = ["Curve", "fitted"]

Curve = dict[str, list[tuple[int, float]]]
"""Points (step, value) of each metric of a learning curve."""


def fitted(
    settings: CandidateSettings, seed: int, panel: Panel, progress: Progress | None = None
) -> tuple[Forecaster, Curve]:
    """Return a forecaster fitted on a panel, and its learning curve."""
    curve: Curve = defaultdict(list)

    def record(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            curve[name].append((step, float(value)))
        if progress is not None:
            progress(step, steps, metrics)

    return models.build(settings, seed).fit(panel, progress=record), dict(curve)
