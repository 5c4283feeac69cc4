"""Intermittent demand: Croston's method, its correction by Syntetos and Boylan, and that of Teunter and others."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates.statistical import IntermittentSettings
from pipeline.models.statistical.history import History
from pipeline.models.statistical.local import LocalForecaster
from pipeline.preprocess.panel import Panel

__all__ = ["Intermittent"]

_SMOOTHING = (0.1, 0.02, 0.05, 0.2, 0.3)
"""Shares of an error that go into the mean; of equals the first is taken."""


class Intermittent(LocalForecaster):
    """The mean size of a sale times how often there is one.

    `croston` smooths the sizes and the intervals between sales, when there is a sale. `sba` takes off the bias that
    this has. `tsb` smooths the probability of a sale, every period, so that the forecast of what is sold no more
    falls. Periods that were not observed do not count. (Croston, Operational Research Quarterly 23(3), 1972; Syntetos
    and Boylan, International Journal of Forecasting 21(2), 2005; Teunter, Syntetos and Babai, European Journal of
    Operational Research 214(3), 2011.)
    """

    name: ClassVar[str] = "intermittent"
    settings: IntermittentSettings

    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        shares = (self.settings.smoothing,) if self.settings.smoothing else _SMOOTHING
        if self.settings.method != "tsb" or self.settings.smoothing:
            return np.array([(share, share) for share in shares])
        return np.array([(of_size, of_sale) for of_size in shares for of_sale in shares])

    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        run = _probabilities if self.settings.method == "tsb" else _intervals
        level = run(history, parameters, origins)
        if self.settings.method == "sba":
            level *= 1 - parameters[1] / 2
        return np.repeat(level[:, None], len(leads), axis=1)


def _intervals(history: History, smoothing: NDArray[np.float64], origins: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return Croston's forecast at each origin `[O, S]`: size over interval, 0 before the first sale."""
    of_size, of_interval = smoothing
    size, interval, since = (np.zeros(len(of_size)) for _ in range(3))
    forecast = np.empty((len(origins), len(of_size)))
    for origin, seen, value in history.steps(origins):
        since += seen
        sold = value > 0
        first = sold & (interval == 0)
        size += np.where(sold, np.where(first, 1.0, of_size) * (value - size), 0.0)
        interval += np.where(sold, np.where(first, 1.0, of_interval) * (since - interval), 0.0)
        since[sold] = 0
        if origin >= 0:
            forecast[origin] = size / np.maximum(interval, 1)
    return forecast


def _probabilities(history: History, smoothing: NDArray[np.float64], origins: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the forecast of Teunter, Syntetos and Babai at each origin `[O, S]`: size times probability."""
    of_size, of_sale = smoothing
    size, probability = np.zeros(len(of_size)), np.zeros(len(of_size))
    started, ever_sold = np.zeros(len(of_size), bool), np.zeros(len(of_size), bool)
    forecast = np.empty((len(origins), len(of_size)))
    for origin, seen, value in history.steps(origins):
        sold = value > 0
        size += np.where(sold, np.where(ever_sold, of_size, 1.0) * (value - size), 0.0)
        probability += np.where(seen, np.where(started, of_sale, 1.0) * (sold - probability), 0.0)
        started |= seen
        ever_sold |= sold
        if origin >= 0:
            forecast[origin] = size * probability
    return forecast
