"""Feature table: one row per series, origin and lead, gathered from a panel's dense arrays."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import Levels, trailing_sums
from pipeline.models.rhythm import rhythm_of
from pipeline.models.tabular.groups import Groups
from pipeline.models.tabular.history import history, levels_of
from pipeline.models.tabular.regression import PlanRegression
from pipeline.models.tabular.rows import Rows
from pipeline.preprocess.panel import Panel

__all__ = ["FeatureTable"]

_WEEK_DAYS = 7
_SAME_WEEKDAYS = 8
"""How many past days of the target's weekday are looked at."""
_EFFECT_SHRINKAGE = 0.02
"""Variance, as a share of the mean square, that a covariate is credited with that did not move."""
_LIKE_PRICE, _MEMORY_PERIODS = 0.07, 26.0
"""How far apart in its logarithm a like price lies, and how soon an example is forgotten."""
_EXAMPLES = 52
_UNLIKE = 0.25
"""What an example weighs whose other plans differ."""
_LOG_PRICE = "log_price"
_LEAST_DEMAND = 0.05
_OWN_HISTORY = (
    "mean_", "decayed_", "median_", "deviation", "sold_share", "since_sale", "last_sale", "newest_", "on_year",
    "orders:", "residual:mean", "residual:deviation", "residual:newest", "weekday_", "year_", "own:", "examples",
)  # fmt: skip
"""How the names of features begin that tell of the series' own demand."""

Column = NDArray[np.floating]


class FeatureTable:
    """Features of a panel for any rows of (series, origin, lead), each seeing nothing of its target after the origin.

    Demand features are relative to the item's level at the origin, so that one model serves fast and slow sellers.
    A period or covariate that is not there is NaN. Windows are those of the panel's frequency.

    Args:
        panel: history and known future.
        levels: group levels of the fitted model.
        planned: whether demand is divided by what a regression on plans makes one expect, and not by the item's level.
    """

    def __init__(self, panel: Panel, levels: Levels, *, planned: bool) -> None:
        self._panel = panel
        self._rhythm = rhythm_of(panel)
        self._groups = Groups.of(panel)
        self._codes = levels.codes.encode(panel)
        self._static_names = levels.codes.names
        self._levels = levels_of(panel, levels)
        self._prior = levels.prior(panel)
        self.regression = PlanRegression.of(panel, self._groups) if planned else None

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
        """Return the items' levels on their origins `[N]`."""
        return np.asarray(self._levels[series, origin])

    def expected(self, series: Rows, origin: Rows, lead: Rows) -> NDArray[np.float64]:
        """Return what demand is divided by: what plans make one expect, or else the item's level `[N]`."""
        if self.regression is None:
            return self.level(series, origin)
        found = np.clip(self.regression.expected(series, origin, lead), np.log(_LEAST_DEMAND), _log_most(self._panel))
        return np.where(self.is_new(series, origin), self._prior[series], np.exp(found))

    def is_new(self, series: Rows, origin: Rows) -> NDArray[np.bool_]:
        """Return which rows are of a series that nothing has been observed of until its origin `[N]`."""
        return np.asarray(self._seen[series, origin + 1] == 0)

    def prior(self, series: Rows) -> NDArray[np.float64]:
        """Return the level of the series' kin `[N]`."""
        return np.asarray(self._prior[series])

    def forget(self, features: NDArray[np.float32], series: Rows) -> None:
        """Make rows look like those of a series without history, in place: what is left are its kin and its plans.

        Args:
            features: `[N, F]`
            series: positions in the panel `[N]`.
        """
        level = np.log(self._prior[series])
        for position, name in enumerate(self.names):
            if name in {"log_level", "expected"}:
                features[:, position] = level
            elif name in {"age", "expected:rise", "examples:weight"}:
                features[:, position] = 0
            elif name.startswith(_OWN_HISTORY) or name.endswith(":effect"):
                features[:, position] = np.nan

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
        yield "lead", lead.astype(np.float64)
        for name, states in self._history.items():
            yield name, states[series, origin]
        yield from self._season(series, origin, lead, level)
        yield from self._year(series, origin, lead, level)
        yield from self._calendar(origin, lead)
        yield from self._known(series, origin, lead, level)
        if self.regression is not None:
            yield from self._regression(series, origin, lead, level)
        for position, name in enumerate(self._panel.trait_names):
            yield f"trait:{name}", self._panel.traits[series, position]
        for name, codes in zip(self._static_names, self._codes.T, strict=True):
            yield f"static:{name}", codes[series].astype(np.float64)

    @cached_property
    def _history(self) -> dict[str, NDArray[np.float32]]:
        columns = history(self._panel, self._levels, self._groups, self.regression)
        return {name: np.asarray(column, np.float32) for name, column in columns.items()}

    def _calendar(self, origin: Rows, lead: Rows) -> Iterator[tuple[str, Column]]:
        for name, column in zip(self._panel.shared_names, self._panel.shared.T, strict=True):
            yield f"shared:{name}", column[origin + lead]

    def _season(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        """Yield how the past days of the target's weekday were; weeks have none."""
        if self._panel.frequency == "W":
            return
        newest = origin + lead - _WEEK_DAYS * -(-lead // _WEEK_DAYS)
        period = newest[:, None] - _WEEK_DAYS * np.arange(_SAME_WEEKDAYS)
        there = np.maximum(period, 0)
        seen = self._panel.observed[series[:, None], there] & (period >= 0)
        units = np.where(seen, self._panel.y[series[:, None], there], 0.0)
        yield "weekday_last", _ratio(units[:, 0], seen[:, 0]) / level
        for count in (_SAME_WEEKDAYS // 2, _SAME_WEEKDAYS):
            yield f"weekday_mean_{count}", _ratio(units[:, :count].sum(1), seen[:, :count].sum(1)) / level
        yield "weekday_sold_share", _ratio((units > 0).sum(1), seen.sum(1))
        ordered = np.sort(np.where(seen, units, np.inf), axis=1)
        middle = np.maximum(seen.sum(1) - 1, 0) // 2
        median = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0] if len(series) else units[:, 0]
        yield "weekday_median", np.where(seen.any(1), median, np.nan) / level

    def _year(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        """Yield how the same time of the year before was, of the series, of all series and of its groups."""
        around, recent = self._rhythm.around, self._rhythm.level // 2
        same = origin + lead - self._rhythm.year
        then = origin - self._rhythm.year

        def between(units: NDArray[np.float64], rows: Rows, first: Rows, last: Rows) -> Column:
            last = np.minimum(last, origin)
            there = (first >= 0) & (last >= first)
            low, high = np.maximum(first, 0), np.maximum(last, 0) + 1
            sums = units[rows, high] - units[rows, np.minimum(low, high)]
            return np.where(there, sums / np.maximum(high - low, 1), np.nan)

        own = self._units
        yield "year_last", between(own, series, same, same) / level
        yield "year_around", between(own, series, same - around, same + around) / level
        yield "year_wide", between(own, series, same - 4 * around, same + 4 * around) / level
        for name, units, rows in self._aggregates(series):
            base = between(units, rows, then - recent + 1, then)
            yield (
                f"{name}:year_rise",
                between(units, rows, same - around, same + around) / np.maximum(base, _LEAST_DEMAND),
            )

    def _aggregates(self, series: Rows) -> Iterator[tuple[str, NDArray[np.float64], Rows]]:
        """Yield running totals of the series, of all series and of each grouping, and the row that each series has."""
        yield "own", self._units, series
        yield "market", self._units.sum(axis=0, keepdims=True), np.zeros_like(series)
        for number, name in enumerate(self._groups.names):
            yield f"group:{name}", self._groups.sums(self._units, number), self._groups.codes[number][series]

    def _known(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        """Yield what is known of the target, before and after it, beside what was usual, and in the series' groups."""
        target = origin + lead
        following = np.minimum(target + 1, np.minimum(origin + self._panel.horizon, self._panel.known.shape[1] - 1))
        for position, name in enumerate(self._panel.known_names):
            values = self._panel.known[..., position]
            value = values[series, target]
            yield f"known:{name}", value
            yield f"known:{name}:rise", value - self._usual(position, series, origin)
            yield f"known:{name}:before", values[series, target - 1]
            yield f"known:{name}:after", values[series, following]
            yield f"known:{name}:effect", self._effect(series, origin, position) / level
            for number in self._groups.own:
                others = self._others(position, number)
                yield f"known:{name}:{self._groups.names[number]}", others[series, target]

    def _regression(self, series: Rows, origin: Rows, lead: Rows, level: Column) -> Iterator[tuple[str, Column]]:
        assert self.regression is not None  # noqa: S101 - the caller has looked
        expected = np.log(self.expected(series, origin, lead))
        yield "expected", expected
        yield "expected:rise", expected - np.log(level)
        if _LOG_PRICE in self._panel.known_names:
            example, weight = self._examples(series, origin, lead)
            yield "examples", example - expected
            yield "examples:weight", weight

    def _examples(self, series: Rows, origin: Rows, lead: Rows) -> tuple[Column, Column]:
        """Return mean log demand of past periods with a like price and like plans, and what they weigh together."""
        panel = self._panel
        price = panel.known_names.index(_LOG_PRICE)
        others = [position for position in range(len(panel.known_names)) if position != price]
        target = panel.known[series, origin + lead]
        total, weight = np.zeros(len(series)), np.zeros(len(series))
        for back in range(_EXAMPLES):
            period = np.maximum(origin - back, 0)
            then = panel.known[series, period]
            like = np.exp(-0.5 * ((target[:, price] - then[:, price]) / _LIKE_PRICE) ** 2 - back / _MEMORY_PERIODS)
            for position in others:
                unlike = np.abs(target[:, position] - then[:, position]) > self._tolerance[position]
                like = np.where(unlike, _UNLIKE * like, like)
            like = like * (panel.observed[series, period] & (origin >= back))
            total += like * np.log(np.maximum(panel.y[series, period], 1))
            weight += like
        return np.where(weight > 0.01, total / np.maximum(weight, 1e-9), np.nan), weight  # noqa: PLR2004 - next to none

    @cached_property
    def _tolerance(self) -> NDArray[np.float64]:
        """How far apart two values of a known covariate are alike: a spread of them `[K]`."""
        history = self._panel.known[:, : self._panel.y.shape[1]]
        return history.std(axis=(0, 1), dtype=np.float64)

    def _effect(self, series: Rows, origin: Rows, position: int) -> Column:
        """Return the slope of demand on a known covariate over the effect window, shrunk to 0 where it hardly moved."""
        first = np.maximum(origin + 1 - self._rhythm.effect, 0)
        periods = np.maximum(self._seen[series, origin + 1] - self._seen[series, first], 1)
        y, k, kk, ky = (
            (sums[series, origin + 1] - sums[series, first]) / periods
            for sums in (self._units, *(sums[..., position] for sums in self._moments))
        )
        return (ky - k * y) / (kk * (1 + _EFFECT_SHRINKAGE) - k * k + np.finfo(np.float32).eps)

    def _usual(self, position: int, series: Rows, origin: Rows) -> Column:
        """Return a known covariate's mean over the trailing level window `[N]`."""
        first = np.maximum(origin + 1 - self._rhythm.level, 0)
        sums = self._known_sums[..., position]
        return (sums[series, origin + 1] - sums[series, first]) / (origin + 1 - first)

    def _others(self, position: int, number: int) -> NDArray[np.float64]:
        key = (position, number)
        if key not in self._others_found:
            self._others_found[key] = self._groups.others(self._panel.known[..., position], number)
        return self._others_found[key]

    @cached_property
    def _others_found(self) -> dict[tuple[int, int], NDArray[np.float64]]:
        return {}

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        return trailing_sums(np.where(self._panel.observed, self._panel.y, 0))

    @cached_property
    def _seen(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.observed)

    @cached_property
    def _known_sums(self) -> NDArray[np.float64]:
        return trailing_sums(self._panel.known[:, : self._panel.y.shape[1]])

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], ...]:
        """Running totals of known covariates in observed periods, of their squares and products with demand."""
        known = self._panel.known[:, : self._panel.y.shape[1]] * self._panel.observed[..., None]
        return trailing_sums(known), trailing_sums(known**2), trailing_sums(known * self._panel.y[..., None])


def _log_most(panel: Panel) -> float:
    """Return the logarithm of ten times the most that was ever sold: an expectation beyond it has run away."""
    return float(np.log(10 * max(float(panel.y.max(initial=0)), 1.0)))


def _ratio(total: Column, count: NDArray[np.number]) -> Column:
    """Return total / count, NaN where nothing was counted."""
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
