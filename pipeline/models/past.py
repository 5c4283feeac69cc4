"""Past forecasts: what a forecaster said from earlier origins, beside what came."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Forecast, Forecaster
from pipeline.preprocess.panel import Panel

__all__ = ["PastForecasts"]


@dataclass(frozen=True)
class PastForecasts:
    """Forecasts of all series from O origins, each over H leads, and the demand that followed."""

    origins: tuple[date, ...]
    """Ascending `[O]`."""
    ends: NDArray[np.intp]
    """How many periods of the history are over on each origin `[O]`."""
    y: NDArray[np.float32]
    """Demand that came, NaN where it was not observed `[O, S, H]`."""
    quantiles: NDArray[np.float32]
    """`[O, S, H, Q]`"""
    mean: NDArray[np.float32]
    """`[O, S, H]`"""

    @classmethod
    def of(cls, forecaster: Forecaster, panel: Panel, origins: Sequence[date]) -> "PastForecasts":
        """Return what a fitted forecaster says from some origins of the panel."""
        return cls.beside(panel, [forecaster.predict(panel, origin, panel.horizon) for origin in origins])

    @classmethod
    def beside(cls, panel: Panel, forecasts: Sequence[Forecast]) -> "PastForecasts":
        """Return forecasts beside the demand that the panel holds of their periods."""
        ends = np.array([panel.periods_until(forecast.origin) for forecast in forecasts])
        return cls(
            tuple(forecast.origin for forecast in forecasts),
            ends,
            np.stack([_came(panel, end) for end in ends]),
            np.stack([forecast.quantiles for forecast in forecasts]),
            np.stack([forecast.mean for forecast in forecasts]),
        )

    def known_at(self, position: int) -> "PastForecasts":
        """Return the same forecasts as somebody sees them on one of the origins: what came later is NaN."""
        horizon = self.y.shape[2]
        period = self.ends[:, None] + np.arange(horizon)
        known = period < self.ends[position]
        return replace(self, y=np.where(known[:, None, :], self.y, np.nan).astype(np.float32))

    def forecast(self, position: int, panel: Panel) -> Forecast:
        """Return the forecast from one of the origins."""
        return Forecast(
            panel.unique_id, self.origins[position], self.quantiles[position], self.mean[position], panel.frequency
        )

    @property
    def any_came(self) -> bool:
        """Whether any demand is known to learn from."""
        return bool(np.isfinite(self.y).any())


def _came(panel: Panel, end: int) -> NDArray[np.float32]:
    """Return the demand of the horizon after so many periods, NaN where none was observed or none is known yet."""
    came = slice(end, end + panel.horizon)
    seen = np.where(panel.observed[:, came], panel.y[:, came], np.float32(np.nan))
    return np.pad(seen, ((0, 0), (0, panel.horizon - seen.shape[1])), constant_values=np.nan)
