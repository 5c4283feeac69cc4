"""Regression of demand on what is known ahead, pooled over series: what plans alone make one expect."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.tabular.groups import Groups
from pipeline.preprocess.panel import Panel

__all__ = ["PlanRegression"]

MOST_ZEROS = 0.05
"""With a greater share of periods without a sale, the logarithm of demand has no slope to speak of."""
_LEAST_PERIODS = 8
_MEMORY = 0.985
"""How much less a period counts for the slopes than the one after it,"""
_LEVEL_MEMORY = 0.94
"""and for the level."""
_GROUP_PRIOR, _SERIES_PRIOR = 50.0, 15.0
"""Periods' worth of scatter with which a group leans on all series, and a series on its group."""
_MOST_GRID = 40
"""Slopes are reckoned anew at so many periods, evenly spread over the history."""
_WIDEST_RESIDUAL = 3.0


@dataclass(frozen=True)
class PlanRegression:
    """log demand = level + slopes x covariates, with slopes and level as they were known at each period.

    The slopes are those of a ridge regression within series, in which all series pull a group's slopes towards theirs
    and a group those of its series (empirical Bayes by average scatter; Gelman and Hill, Data Analysis Using Regression
    and Multilevel Models, ch. 12). Older periods count less.
    """

    covariates: NDArray[np.float64]
    """Of all periods, the known future included `[S, T + H, k]`."""
    slopes: NDArray[np.float64]
    """As they were known at the periods of the grid `[S, G, k]`."""
    grid: NDArray[np.intp]
    """For each period, the newest place of the grid at which it was over `[T]`."""
    level: NDArray[np.float64]
    """Log demand at covariates 0, as it was known at each period `[S, T]`."""
    residual: NDArray[np.float64]
    """Log demand beyond what the period before made one expect, NaN where nothing was observed `[S, T]`."""

    @classmethod
    def suits(cls, panel: Panel) -> bool:
        """Return whether something is known ahead, and demand is hardly ever zero."""
        seen = panel.observed
        if not panel.known_names or seen.sum() == 0 or panel.y.shape[1] < _LEAST_PERIODS:
            return False
        return bool((panel.y[seen] > 0).mean() >= 1 - MOST_ZEROS)

    @classmethod
    def of(cls, panel: Panel, groups: Groups) -> Self:
        """Return the regression over the panel's history.

        Args:
            panel: history and known future.
            groups: groups of series, of which the covariates' means are covariates too.
        """
        x = _covariates(panel, groups)
        log_y = np.log(np.maximum(panel.y, 1)).astype(np.float64)
        slopes, grid = _slopes(x[:, : panel.y.shape[1]], log_y, panel.observed, groups.finest)
        level = _levels(x, log_y, panel.observed, slopes, grid)
        expected = level[:, :-1] + np.einsum("stk,stk->st", x[:, 1 : panel.y.shape[1]], slopes[:, grid[:-1]])
        residual = np.full(panel.y.shape, np.nan)
        residual[:, 1:] = np.clip(log_y[:, 1:] - expected, -_WIDEST_RESIDUAL, _WIDEST_RESIDUAL)
        residual[~panel.observed] = np.nan
        return cls(x, slopes, grid, level, residual)

    def expected(
        self, series: NDArray[np.intp], origin: NDArray[np.intp], lead: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the logarithm of the demand that one expects on the origins `[N]`."""
        effect = np.einsum("nk,nk->n", self.covariates[series, origin + lead], self.slopes[series, self.grid[origin]])
        return np.asarray(self.level[series, origin] + effect)


def _covariates(panel: Panel, groups: Groups) -> NDArray[np.float64]:
    """Return what is known of each period: now, the period before, and of the other series of its groups."""
    known = panel.known.astype(np.float64)
    before = np.concatenate([known[:, :1], known[:, :-1]], axis=1)
    return np.concatenate([known, before, *(groups.others(known, number) for number in groups.own)], axis=-1)


def _slopes(
    x: NDArray[np.float64], log_y: NDArray[np.float64], seen: NDArray[np.bool_], group: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the slopes at the periods of a grid `[S, G, k]`, and each period's place in it `[T]`."""
    size, periods, width = x.shape
    places = np.unique(np.linspace(min(_LEAST_PERIODS, periods) - 1, periods - 1, _MOST_GRID).astype(np.intp))
    joint = np.concatenate([x, log_y[..., None]], axis=-1)
    weight = np.zeros(size)
    first = np.zeros((size, width + 1))
    second = np.zeros((size, width + 1, width + 1))
    found = []
    for period in range(periods):
        row = joint[:, period] * seen[:, period, None]
        weight = _MEMORY * weight + seen[:, period]
        first = _MEMORY * first + row
        second = _MEMORY * second + row[:, :, None] * row[:, None, :]
        if period in places:
            scatter = second - first[:, :, None] * first[:, None, :] / np.maximum(weight, 1e-6)[:, None, None]
            found.append(_pooled(scatter, weight, group))
    grid = np.maximum(np.searchsorted(places, np.arange(periods), side="right") - 1, 0)
    # Before the grid begins nothing is known of the slopes.
    slopes = np.stack(found, axis=1)
    return np.concatenate([np.zeros_like(slopes[:, :1]), slopes], axis=1), np.where(
        np.arange(periods) < places[0], 0, grid + 1
    )


def _pooled(scatter: NDArray[np.float64], weight: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return each series' slopes, shrunk to its group's, and those to all series' `[S, k]`."""
    a, b = scatter[:, :-1, :-1], scatter[:, :-1, -1]
    identity = np.eye(a.shape[1])
    common = np.linalg.solve(a.sum(axis=0) + identity, b.sum(axis=0))
    usual = a.sum(axis=0) / max(float(weight.sum()), 1.0) + 1e-4 * identity
    groups = int(group.max()) + 1
    in_group, of_group = np.zeros((groups, *a.shape[1:])), np.zeros((groups, b.shape[1]))
    np.add.at(in_group, group, a)
    np.add.at(of_group, group, b)
    middle = np.linalg.solve(in_group + _GROUP_PRIOR * usual, (of_group + _GROUP_PRIOR * usual @ common)[..., None])
    prior = middle[group, :, 0]
    right = b + _SERIES_PRIOR * prior @ usual.T
    return np.asarray(np.linalg.solve(a + _SERIES_PRIOR * usual, right[..., None])[..., 0])


def _levels(
    x: NDArray[np.float64],
    log_y: NDArray[np.float64],
    seen: NDArray[np.bool_],
    slopes: NDArray[np.float64],
    grid: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the decayed mean of what the slopes leave of log demand, as known at each period `[S, T]`."""
    size, periods = log_y.shape
    weight, total, moved = np.zeros(size), np.zeros(size), np.zeros((size, x.shape[-1]))
    levels = np.zeros((size, periods))
    for period in range(periods):
        here = seen[:, period]
        weight = _LEVEL_MEMORY * weight + here
        total = _LEVEL_MEMORY * total + np.where(here, log_y[:, period], 0)
        moved = _LEVEL_MEMORY * moved + np.where(here[:, None], x[:, period], 0)
        effect = np.einsum("sk,sk->s", moved, slopes[:, grid[period]])
        levels[:, period] = (total - effect) / np.maximum(weight, 1e-9)
    return levels
