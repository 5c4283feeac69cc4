"""Exponential smoothing of many series at once: a damped trend, and the Theta method."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates.statistical import EtsSettings, ThetaSettings
from pipeline.models.statistical.history import History
from pipeline.models.statistical.local import LocalForecaster
from pipeline.preprocess.panel import Panel

__all__ = ["Ets", "Theta"]

_SMOOTHING = (0.1, 0.02, 0.05, 0.2, 0.35, 0.5, 0.7)
"""Shares of an error that go into the level; of equals the first is taken."""
_TREND_SMOOTHING = ((0.05, 0.1), (0.1, 0.1), (0.2, 0.2), (0.4, 0.2))
"""Shares of an error that go into the level, and of that, into the trend."""
_DAMPING = 0.9
"""What is left of a trend after a period."""
_THETAS = (2.0, 1.0, 3.0)
"""2 is the Theta method as it was published, half the slope; 1 has no slope; 3 has two thirds of it."""
_LEAST_TREND_PERIODS = 10
"""Observed periods from which a slope is measured."""


class Ets(LocalForecaster):
    """Exponential smoothing with or without a damped trend: ETS(A,N) and ETS(A,Ad), beside season factors.

    A period that was not observed moves the trend on and leaves the rest. (Hyndman, Koehler, Ord and Snyder,
    Forecasting with Exponential Smoothing, 2008, ch. 2 and 12.)
    """

    name: ClassVar[str] = "ets"
    settings: EtsSettings

    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        level_only = [(alpha, 0.0, 1.0) for alpha in _SMOOTHING]
        with_trend = [(alpha, beta, _DAMPING) for alpha, beta in _TREND_SMOOTHING] if self.settings.trend else []
        return np.array([*level_only, *with_trend])

    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        alpha, beta, damping = parameters
        damped = np.cumsum(damping ** np.arange(1, leads[-1] + 1)[:, None], axis=0)[leads - 1]
        ahead = np.empty((len(origins), len(leads), len(alpha)))
        level, trend = history.start(), np.zeros(len(alpha))
        for origin, seen, value in history.steps(origins):
            trend = damping * trend
            level = level + trend
            error = np.where(seen, value - level, 0.0)
            level = level + alpha * error
            trend = trend + alpha * beta * error
            if origin >= 0:
                ahead[origin] = level + damped * trend
        return ahead


class Theta(LocalForecaster):
    """The Theta method: exponential smoothing with part of the slope of the history as its drift.

    The slope is that of a line through the observed periods up to the origin. (Assimakopoulos and Nikolopoulos, The
    theta model, International Journal of Forecasting 16(4), 2000; Hyndman and Billah, Unmasking the Theta method,
    ibid. 19(2), 2003.)
    """

    name: ClassVar[str] = "theta"
    settings: ThetaSettings

    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        return np.array([(alpha, theta) for theta in _THETAS for alpha in _SMOOTHING])

    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        alpha, theta = parameters
        share = 1 - 1 / theta
        level = history.start()
        slopes, periods = _slopes(history, origins)
        ahead = np.empty((len(origins), len(leads), len(alpha)))
        for origin, seen, value in history.steps(origins):
            level = np.where(seen, level + alpha * (value - level), level)
            if origin >= 0:
                lag = (1 - (1 - alpha) ** periods[origin]) / alpha
                ahead[origin] = level + share * slopes[origin] * (leads[:, None] - 1 + lag)
        return ahead


def _slopes(history: History, origins: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the slope of a line through what was seen up to each origin, and the periods since the start `[O, S]`."""
    seen = history.learned
    time = np.arange(1, len(seen) + 1)[:, None]
    count, total, moment, square, product = (
        np.cumsum(term, axis=0, dtype=np.float64)[origins]
        for term in (seen, history.level, seen * time, seen * time**2, history.level * time)
    )
    spread = count * square - moment**2
    enough = (count >= _LEAST_TREND_PERIODS) & (spread > 0)
    slope = np.where(enough, count * product - moment * total, 0.0) / np.where(enough, spread, 1.0)
    launched = np.where(seen.any(axis=0), seen.argmax(axis=0), len(seen))
    return slope, np.maximum(time[origins] - launched, 0).astype(np.float64)
