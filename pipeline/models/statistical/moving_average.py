"""The moving average: the mean of the last periods."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates.statistical import MovingAverageSettings
from pipeline.models.statistical.history import History
from pipeline.models.statistical.local import LocalForecaster
from pipeline.preprocess.panel import Panel

__all__ = ["MovingAverage"]

_WINDOWS = {"D": (28, 7, 14, 56, 112, 364), "W": (8, 4, 13, 26, 52)}
"""Windows to choose from; of equals the first is taken."""


class MovingAverage(LocalForecaster):
    """The mean of the observed periods of a window, beside season factors.

    A window without any observed period has the mean of the whole history before.
    """

    name: ClassVar[str] = "moving_average"
    settings: MovingAverageSettings

    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        windows = (self.settings.window,) if self.settings.window else _WINDOWS[panel.frequency]
        return np.array(windows, np.float64)[:, None]

    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        begin = np.maximum(origins[:, None] + 1 - parameters[0].astype(np.intp), 0)
        total, whole = _between(history.level, begin, origins)
        count, seen = _between(history.learned, begin, origins)
        average = np.where(count > 0, total / np.maximum(count, 1), whole / np.maximum(seen, 1))
        return np.repeat(average[:, None], len(leads), axis=1)


def _between(
    values: NDArray[np.number | np.bool_], begin: NDArray[np.intp], origins: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums from each series' begin to the origins, and from the start to them, both `[O, S]`."""
    running = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, dtype=np.float64, out=running[1:])
    whole = running[origins + 1]
    return whole - np.take_along_axis(running, begin, axis=0), whole
