"""Metrics of a forecast against what came, over arrays in which NaN marks what was not observed.

Each takes actuals `y [N]` and quantiles `[N, Q]` or a point forecast `[N]`, and leaves unobserved rows out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["bias", "coverage", "mae", "mase", "rmse", "rmsse", "wape", "weighted_quantile_loss"]

Array = NDArray[np.floating]


def weighted_quantile_loss(y: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Return 2 x pinball loss over absolute demand, averaged over the levels (Salinas et al. 2020, DeepAR, eq. 4)."""
    seen = ~np.isnan(y)
    error = y[seen, None] - quantiles[seen]
    tau = np.asarray(levels)
    pinball = np.maximum(tau * error, (tau - 1) * error)
    return float(2 * pinball.sum(axis=0).mean() / _positive(np.abs(y[seen]).sum()))


def wape(y: Array, point: Array) -> float:
    """Return the sum of absolute errors over the sum of absolute demand."""
    seen = ~np.isnan(y)
    return float(np.abs(y[seen] - point[seen]).sum() / _positive(np.abs(y[seen]).sum()))


def bias(y: Array, point: Array) -> float:
    """Return the sum of errors (forecast - demand) over the sum of demand: positive where too much is forecast."""
    seen = ~np.isnan(y)
    return float((point[seen] - y[seen]).sum() / _positive(np.abs(y[seen]).sum()))


def mae(y: Array, point: Array) -> float:
    """Return the mean absolute error, in units."""
    seen = ~np.isnan(y)
    return float(np.mean(np.abs(y[seen] - point[seen]))) if seen.any() else float("nan")


def rmse(y: Array, point: Array) -> float:
    """Return the root of the mean squared error, in units."""
    seen = ~np.isnan(y)
    return float(np.sqrt(np.mean((y[seen] - point[seen]) ** 2))) if seen.any() else float("nan")


def mase(y: Array, point: Array, scale: Array) -> float:
    """Return the mean absolute error in units of each series' in-sample seasonal-naive error (Hyndman, Koehler 2006).

    Args:
        y: actuals `[N]`.
        point: forecasts `[N]`.
        scale: each row's series' mean absolute seasonal difference `[N]`; rows where it is 0 are left out.
    """
    usable = ~np.isnan(y) & (scale > 0)
    return float(np.mean(np.abs(y[usable] - point[usable]) / scale[usable])) if usable.any() else float("nan")


def rmsse(y: Array, point: Array, scale: Array) -> float:
    """Return the root of the mean squared scaled error (M5 competition).

    Args:
        y: actuals `[N]`.
        point: forecasts `[N]`.
        scale: each row's series' mean squared seasonal difference `[N]`; rows where it is 0 are left out.
    """
    usable = ~np.isnan(y) & (scale > 0)
    return float(np.sqrt(np.mean((y[usable] - point[usable]) ** 2 / scale[usable]))) if usable.any() else float("nan")


def coverage(y: Array, lower: Array, upper: Array) -> float:
    """Return the share of actuals that lie between two quantiles, both included."""
    seen = ~np.isnan(y)
    return float(np.mean((lower[seen] <= y[seen]) & (y[seen] <= upper[seen]))) if seen.any() else float("nan")


def _positive(total: float) -> float:
    """Return the total, or the smallest step above nothing where nothing was sold at all."""
    return total if total > 0 else float(np.finfo(np.float64).tiny)
