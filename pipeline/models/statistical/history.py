"""The history of many series side by side, freed of the season, as recursions run through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.statistical.season import SeasonFactors
from pipeline.preprocess.panel import Panel

__all__ = ["History"]

_LEAST_FACTOR = 0.1
"""Season factor below which a period says nothing of a series' level."""
_START_PERIODS = 10
"""First observed periods whose mean is the level that a recursion starts from."""


@dataclass(frozen=True)
class History:
    """A row a period and a column a series, so that a recursion through time reads memory in order.

    A period that was not observed is not filled in: a recursion goes through it with its own forecast, which is the
    level at that place in the season.
    """

    units: NDArray[np.float64]
    """Units demanded, 0 where not observed `[T, S]`."""
    observed: NDArray[np.bool_]
    """`[T, S]`"""
    season: NDArray[np.float64]
    """Season factors, also of the periods ahead `[T + H, S]`."""
    level: NDArray[np.float64]
    """Units over season factor, 0 where nothing was learned `[T, S]`."""
    learned: NDArray[np.bool_]
    """Where a period says something of the level: observed, and no closed weekday `[T, S]`."""

    @classmethod
    def of(cls, panel: Panel, rows: slice, season: SeasonFactors, horizon: int) -> Self:
        """Return the history of some series of a panel."""
        observed = np.ascontiguousarray(panel.observed[rows].T)
        units = np.where(observed, panel.y[rows].T, 0.0).astype(np.float64)
        factors = season.over(panel, rows, horizon)
        past = factors[: len(units)]
        learned = observed & (past >= _LEAST_FACTOR)
        return cls(units, observed, factors, np.where(learned, units / np.maximum(past, _LEAST_FACTOR), 0.0), learned)

    def start(self) -> NDArray[np.float64]:
        """Return the mean level of the first periods of each series, 0 where it has none `[S]`."""
        first = self.learned & (np.cumsum(self.learned, axis=0) <= _START_PERIODS)
        return np.asarray(self.level.sum(axis=0, where=first) / np.maximum(first.sum(axis=0), 1))

    def steps(self, origins: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.float64]]]:
        """Yield each period up to the last origin: which origin it is, below 0 before the first; what was learned.

        Args:
            origins: consecutive periods `[O]`.
        """
        first, last = int(origins[0]), int(origins[-1])
        for period in range(last + 1):
            yield period - first, self.learned[period], self.level[period]

    def units_ahead(
        self, levels: NDArray[np.float64], origins: NDArray[np.intp], leads: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the units that forecasts of the level mean, never negative `[O, L, S]` -> `[O, L, S]`."""
        target = np.minimum(origins[:, None] + leads, len(self.season) - 1)
        return np.maximum(levels * self.season[target], 0)
