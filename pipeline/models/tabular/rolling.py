"""Trailing statistics of all series at once, of what was observed alone; NaN where nothing was."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter

from pipeline.models.levels import trailing_sums

__all__ = ["decayed_mean", "delayed", "trailing_mean", "trailing_median", "trailing_sum"]

Values = NDArray[np.floating]
Mask = NDArray[np.bool_]


def trailing_sum(values: NDArray[np.number | np.bool_], window: int) -> NDArray[np.float64]:
    """Return the sum of each period and those before it, as many as the window holds `[S, T]`."""
    total = trailing_sums(values)
    period = np.arange(values.shape[1])
    return np.asarray(total[:, period + 1] - total[:, np.maximum(period + 1 - window, 0)])


def trailing_mean(values: Values, seen: Mask, window: int) -> NDArray[np.float64]:
    """Return the mean over the trailing window of what was seen `[S, T]`."""
    return _ratio(trailing_sum(np.where(seen, values, 0), window), trailing_sum(seen, window))


def decayed_mean(values: Values, seen: Mask, decay: float) -> NDArray[np.float64]:
    """Return the mean of what was seen, each period counting `decay` times as much as the next one `[S, T]`."""
    total = lfilter([1.0], [1.0, -decay], np.where(seen, values, 0).astype(np.float64), axis=1)
    return _ratio(total, lfilter([1.0], [1.0, -decay], seen.astype(np.float64), axis=1))


def trailing_median(values: Values, seen: Mask, window: int) -> NDArray[np.float64]:
    """Return the median over the trailing window of what was seen `[S, T]`."""
    frame = pd.DataFrame(np.where(seen, values, np.nan).T.astype(np.float64))
    return np.asarray(frame.rolling(window, min_periods=1).median().to_numpy().T)


def delayed(values: Values, periods: int) -> NDArray[np.float64]:
    """Return each period's value so many periods before, NaN where there was none `[S, T]`."""
    late = np.full(values.shape, np.nan)
    if periods < values.shape[1]:
        late[:, periods:] = values[:, : values.shape[1] - periods]
    return late


def _ratio(total: NDArray[np.floating], count: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.where(count > 1e-9, total / np.maximum(count, 1e-9), np.nan)  # noqa: PLR2004 - what rounding leaves of 0
