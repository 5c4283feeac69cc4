"""Rows of the feature table: drawn from a panel's history to learn from, or all of an origin's to forecast."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["Rows", "Sample", "newest_rows", "sampled_rows"]

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Sample:
    """What a tabular model learns from."""

    features: NDArray[np.float32]
    """`[N, F]`"""
    y: NDArray[np.float64]
    """Demand in units `[N]`."""
    base: NDArray[np.float64]
    """What demand is divided by: what one expects on the row's origin, in units a period `[N]`."""
    target: Rows
    """Period that the demand is of `[N]`."""

    def where(self, chosen: NDArray[np.bool_]) -> "Sample":
        """Return some of the rows."""
        return Sample(self.features[chosen], self.y[chosen], self.base[chosen], self.target[chosen])

    def __len__(self) -> int:
        """Return N."""
        return len(self.y)


def sampled_rows(panel: Panel, count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return series, origins and leads of at most so many rows whose targets are observed, each `[N]`."""
    size, periods = panel.y.shape
    first = min(rhythm_of(panel).warm_up, periods // 2) if periods > 1 else 1
    shape = (size, max(periods - first, 0), panel.horizon)
    series, target, lead = np.unravel_index(_drawn(int(np.prod(shape)), count, seed), shape)
    target, lead = target + first, lead + 1
    origin = target - lead
    usable = (origin >= first - 1) & panel.observed[series, target]
    return series[usable], origin[usable], lead[usable]


def newest_rows(panel: Panel, horizon: int) -> tuple[Rows, Rows, Rows]:
    """Return series, origins and leads of all forecasts from the panel's last period, each `[S * horizon]`."""
    size, periods = panel.y.shape
    series = np.repeat(np.arange(size), horizon)
    lead = np.tile(np.arange(1, horizon + 1), size)
    return series, np.full_like(series, periods - 1), lead


def _drawn(total: int, count: int, seed: int) -> Rows:
    """Return so many of the numbers below the total, each once at most unless the total is far larger."""
    rng = np.random.default_rng(seed)
    if total <= 4 * count:
        return rng.permutation(total)[:count]
    return rng.integers(total, size=count)
