"""Feature table: one row per series, origin and lead, gathered from a panel's dense arrays."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import Levels, trailing_sums
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["FeatureTable"]

_EFFECT_SHRINKAGE = 0.02
"""Variance, as a share of the mean square, that a covariate is credited with that did not move."""

Rows = NDArray[np.intp]
Column = NDArray[np.floating]


class FeatureTable:
    """Features of a panel for any rows of (series, origin, lead), each seeing nothing of its target after the origin.

    Demand features are relative to the item's level at the origin, so that one model serves fast and slow sellers.
    A period or covariate that is not there is NaN. Windows are those of the panel's frequency.

    Args:
        panel: history and known future.
        levels: group levels of the fitted model.
    """

    def __init__(self, panel: Panel, levels: Levels) -> None:
        self._panel = panel
        self._rhythm = rhythm_of(panel)
        self._prior = levels.prior(panel)
        self._codes = levels.codes.encode(panel)
        self._static_names = levels.codes.names
        self._observed = trailing_sums(panel.observed)
        self._units = trailing_sums(panel.y)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the table's columns."""
        nothing = np.zeros(0, np.intp)
        return tuple(name for name, _ in self._columns(nothing, nothing, nothing))

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the features that are codes without order."""
        return tuple(f"static:{name}" for name in self._static_names)

    def level(self, series: Rows, origin: Rows) -> NDArray[np.float64]:
        """Return the items' levels on their origins `[N]`: what targets are divided by."""
        units = self._trailing(self._units, series, origin, self._rhythm.level)
        periods = self._trailing(self._observed, series, origin, self._rhythm.level)
        return Levels.shrunk(units, periods, self._prior[series])

    def table(self, series: Rows, origin: Rows, lead: Rows) -> NDArray[np.float32]:
        """Return the features `[N, F]`.

        Args:
            series: positions in the panel `[N]`.
            origin: positions of the last known period `[N]`.
            lead: periods from the origin to the target, from 1 `[N]`.
        """
        table = np.empty((len(series), len(self.names)), np.float32)
        for position, (_, column) in enumerate(self._columns(series, origin, lead)):
            table[:, position] = column
        return table

    def _columns(self, series: Rows, origin: Rows, lead: Rows) -> Iterator[tuple[str, Column]]:
        level = self.level(series, origin)
        yield from self._calendar(origin, lead)
        yield "log_level", np.log(level)
        yield from self._demand(series, origin, level)
        yield from self._season(series, origin, lead, level)
        yield from self._known(series, origin, lead, level)
        yield from self._past(series, origin)
        for name, codes in zip(self._static_names, self._codes.T, strict=True):
            yield f"static:{name}", codes[series].astype(np.float64)

    def _calendar(self, origin: Rows, lead: Rows) -> Iterator[tuple[str, Column]]:
        target = origin + lead
        yield "lead", lead.astype(np.float64)
        yield "season", ((self._first_in_season + target) % self._rhythm.season).astype(np.float64)
        for name, column in zip(self._panel.shared_names, self._panel.shared.T, strict=True):
            yield f"shared:{name}", column[target]

    def _demand(self, series: Rows, origin: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        for window in self._rhythm.means:
            yield f"mean_{window}", self._mean(series, origin, window) / level
        recent = self._rhythm.recent
        yield f"deviation_{recent}", self._deviation(series, origin) / level
        sold = self._trailing(self._sold, series, origin, recent)
        yield f"sold_share_{recent}", _ratio(sold, self._counted(series, origin, recent))
        yield "since_sale", (origin - self._last_sale[series, origin]).astype(np.float64)
        yield "age", self._observed[series, origin + 1]

    def _season(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        """Yield means of the target's place in the season over the last seasons before the origin."""
        season, counts = self._rhythm.season, self._rhythm.seasons
        newest = origin + lead - season * -(-lead // season)
        period = newest[:, None] - season * np.arange(max(counts))
        there = np.maximum(period, 0)
        seen = self._panel.observed[series[:, None], there] & (period >= 0)
        units = np.where(seen, self._panel.y[series[:, None], there], 0.0)
        yield "season_last", _ratio(units[:, 0], seen[:, 0]) / level
        for count in counts:
            yield f"season_mean_{count}", _ratio(units[:, :count].sum(1), seen[:, :count].sum(1)) / level

    def _known(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        for position, name in enumerate(self._panel.known_names):
            value = self._panel.known[series, origin + lead, position]
            recent = self._covariate_mean(self._known_sums[..., position], series, origin)
            yield f"known:{name}", value
            yield f"known:{name}:rise", value - recent
            yield f"known:{name}:effect", self._effect(series, origin, position) / level

    def _past(self, series: Rows, origin: Rows) -> Iterator[tuple[str, Column]]:
        for position, name in enumerate(self._panel.past_names):
            value = self._panel.past[series, origin, position]
            yield f"past:{name}", value
            yield f"past:{name}:rise", value - self._covariate_mean(self._past_sums[..., position], series, origin)

    def _effect(self, series: Rows, origin: Rows, position: int) -> Column:
        """Return the slope of demand on a known covariate over the effect window, shrunk to 0 where it hardly moved."""
        periods = np.maximum(self._counted(series, origin, self._rhythm.effect), 1)
        y, k, kk, ky = (
            self._trailing(sums, series, origin, self._rhythm.effect) / periods
            for sums in (self._units, *(sums[..., position] for sums in self._moments))
        )
        return (ky - k * y) / (kk * (1 + _EFFECT_SHRINKAGE) - k * k + np.finfo(np.float32).eps)

    def _mean(self, series: Rows, origin: Rows, window: int) -> Column:
        return _ratio(self._trailing(self._units, series, origin, window), self._counted(series, origin, window))

    def _deviation(self, series: Rows, origin: Rows) -> Column:
        recent = self._rhythm.recent
        mean = self._mean(series, origin, recent)
        square = _ratio(self._trailing(self._squares, series, origin, recent), self._counted(series, origin, recent))
        return np.sqrt(np.maximum(square - mean**2, 0))

    def _counted(self, series: Rows, origin: Rows, window: int) -> Column:
        """Return how many of the trailing periods were observed `[N]`."""
        return self._trailing(self._observed, series, origin, window)

    def _covariate_mean(self, sums: NDArray[np.float64], series: Rows, origin: Rows) -> Column:
        first = np.maximum(origin + 1 - self._rhythm.recent, 0)
        return (sums[series, origin + 1] - sums[series, first]) / (origin + 1 - first)

    @staticmethod
    def _trailing(sums: NDArray[np.float64], series: Rows, origin: Rows, window: int) -> Column:
        return sums[series, origin + 1] - sums[series, np.maximum(origin + 1 - window, 0)]

    @property
    def _first_in_season(self) -> int:
        """Place of the panel's first period in its season: the weekday, or the week of the year."""
        start = self._panel.start
        return start.weekday() if self._panel.frequency == "D" else start.isocalendar().week - 1

    @cached_property
    def _sold(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.y > 0)

    @cached_property
    def _squares(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.y.astype(np.float64) ** 2)

    @cached_property
    def _last_sale(self) -> NDArray[np.intp]:
        """Position of the last period with a sale up to each one, that before the history where there was none."""
        period = np.where(self._panel.y > 0, np.arange(self._panel.y.shape[1]), -1)
        return np.maximum.accumulate(period, axis=1)

    @cached_property
    def _known_sums(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.known[:, : self._panel.y.shape[1]])

    @cached_property
    def _past_sums(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.past)

    @cached_property
    def _history(self) -> NDArray[np.float32]:
        """Known covariates in observed periods, 0 elsewhere `[S, T, K]`."""
        return self._panel.known[:, : self._panel.y.shape[1]] * self._panel.observed[..., None]

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], ...]:
        """Running totals of known covariates, of their squares and of their products with demand."""
        history = self._history
        return trailing_sums(history), trailing_sums(history**2), trailing_sums(history * self._panel.y[..., None])


def _ratio(total: Column, count: NDArray[np.number]) -> Column:
    """Return total / count, NaN where nothing was counted."""
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
