"""A forecaster with a calibration around it."""

from datetime import date
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Forecast, Forecaster, Progress
from pipeline.models.calibration import Calibration, segments_of
from pipeline.preprocess.panel import Panel

__all__ = ["Calibrated"]


class Calibrated(Forecaster):
    """Forecasts what another forecaster forecasts, with its quantiles stretched by a calibration.

    Args:
        forecaster: a fitted forecaster.
        calibration: what its past forecasts have asked for.
    """

    name: ClassVar[str] = "calibrated"

    def __init__(self, forecaster: Forecaster, calibration: Calibration) -> None:
        super().__init__(forecaster.settings, forecaster.seed)
        self.forecaster = forecaster
        self.calibration = calibration

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Fit the forecaster inside; the calibration stays."""
        self.forecaster.fit(panel, warm_start=warm_start.forecaster if warm_start else None, progress=progress)
        return self

    def predict(self, panel: Panel, origin: date, horizon: int) -> Forecast:
        """Forecast as the forecaster inside does, and stretch."""
        (segments,) = segments_of(panel, [panel.periods_until(origin)])
        return self.calibration.apply(self.forecaster.predict(panel, origin, horizon), segments, panel.horizon)

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        forecast = self.predict(panel, panel.last_day, horizon)
        return forecast.quantiles, forecast.mean

    def save(self, folder: Path) -> None:
        """Write the forecaster inside."""
        self.forecaster.save(folder)

    def _restore(self, folder: Path) -> None:
        self.forecaster._restore(folder)  # noqa: SLF001 - the same forecaster, seen from outside
