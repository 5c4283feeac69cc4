"""Windows: batches of context and future gathered from a panel's dense, maybe memory-mapped, arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import Levels
from pipeline.models.neural.runtime import Inputs
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["DEMAND", "OWN_FUTURE", "SEEN", "STATE", "Rows", "Standard", "WindowShape", "Windows", "series_chunks"]

DEMAND, SEEN = 0, 1
"""Columns of the context: the log of one plus demand relative to the level, and whether it was observed. Behind them
stand the covariates of the past, then those known ahead."""
OWN_FUTURE = 4
"""Columns of the future that demand itself gives, behind the covariates: demand at the same place in the season, as
mean and as last, and in the year before, and which share of that was observed."""
STATE = 4
"""What is said of the item on the origin, before its traits: the log of its level, of its recent demand, how much of
the context was observed, and on how much of that it sold."""

_LEAST_SPREAD = 1e-3
_RECENT_SHARE = 4
"""The last fourth of the context is recent."""
_YEAR_DAYS, _YEAR_REACH_DAYS = 364, 7
"""A year in whole weeks, and how far about it demand is averaged: half as far in a panel of days."""
_SERIES_AT_ONCE = 4096

Rows = NDArray[np.intp]


class WindowShape(NamedTuple):
    """How far a window reaches back and ahead, in periods."""

    context: int
    horizon: int


@dataclass(frozen=True)
class Standard:
    """Mean and spread of the covariates, in the history that a network learnt from, and of the traits."""

    moments: Mapping[str, tuple[float, float]]
    """By the covariate's name."""

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Return the moments of the panel's covariates over its history."""
        periods = panel.y.shape[1]
        arrays = (
            (panel.past_names, panel.past),
            (panel.known_names, panel.known[:, :periods]),
            (panel.shared_names, panel.shared[None, :periods]),
            (panel.trait_names, panel.traits[:, None]),
        )
        pairs = (zip(names, _moments(values), strict=True) for names, values in arrays)
        return cls({name: found for group in pairs for name, found in group})

    def apply(self, values: NDArray[np.floating], names: tuple[str, ...]) -> NDArray[np.float32]:
        """Return covariates `[..., K]` with mean 0 and spread 1.

        Raises:
            ValueError: if the network learnt without one of them.
        """
        unknown = [name for name in names if name not in self.moments]
        if unknown:
            msg = f"the network was fitted without the covariate '{unknown[0]}'; fit it again on such a panel"
            raise ValueError(msg)
        mean, spread = (np.array([self.moments[name][i] for name in names], np.float32) for i in (0, 1))
        return ((values - mean) / spread).astype(np.float32)


class Windows:
    """Gathers a panel's windows by series and origin; demand is relative to the item's level at the origin.

    Args:
        panel: history and known future.
        levels: group levels of the fitted model.
        standard: how covariates are scaled.
        shape: how far windows reach.
    """

    def __init__(self, panel: Panel, levels: Levels, standard: Standard, shape: WindowShape) -> None:
        self.panel = panel
        self.shape = shape
        self._rhythm = rhythm_of(panel)
        self._standard = standard
        self._prior = levels.prior(panel)
        self._static = levels.codes.encode(panel)
        self._traits = standard.apply(panel.traits, panel.trait_names)

    def level(self, series: Rows, origin: Rows) -> NDArray[np.float64]:
        """Return the items' levels on their origins `[B]`."""
        demand, seen = self._demand(series, origin[:, None] + np.arange(1 - self._rhythm.level, 1))
        return Levels.shrunk(demand.sum(axis=1, dtype=np.float64), seen.sum(axis=1), self._prior[series])

    def inputs(self, series: Rows, origin: Rows) -> Inputs:
        """Return what the network may see on the origins; periods before the history are all 0.

        `context` `[B, L, F]`, `future` `[B, H, G]`, `static` `[B, C]` and `state` `[B, 4 + D]`.
        """
        level = self.level(series, origin)
        period = origin[:, None] + np.arange(1 - self.shape.context, 1)
        units, seen = self._demand(series, period)
        demand = units / level[:, None]
        there = np.maximum(period, 0)
        past = self._standard.apply(self.panel.past[series[:, None], there], self.panel.past_names)
        context = (np.log1p(demand)[..., None], seen[..., None], past, *self._known(series, there))
        ahead = np.minimum(origin[:, None] + np.arange(1, self.shape.horizon + 1), self.panel.shared.shape[0] - 1)
        future = (
            *self._known(series, ahead),
            self._same_season(demand, seen),
            self._year_before(series, origin, level),
        )
        return {
            "context": np.concatenate(context, axis=-1, dtype=np.float32) * (period >= 0)[..., None],
            "future": np.concatenate(future, axis=-1, dtype=np.float32),
            "static": self._static[series],
            "state": np.concatenate([_state(demand, seen, level), self._traits[series]], axis=1),
        }

    def targets(self, series: Rows, origin: Rows, last: int) -> NDArray[np.float32]:
        """Return demand relative to the level, its weight in the loss, and whether it is censored `[B, H, 3]`.

        Periods after the last one, and those of which nothing is known, weigh nothing; fast sellers weigh more, as in
        the score. A censored value is the least that demand can have been.
        """
        period = origin[:, None] + np.arange(1, self.shape.horizon + 1)
        there = np.minimum(period, self.panel.y.shape[1] - 1)
        units, seen = self._demand(series, there)
        least = self.panel.at_least[series[:, None], there]
        censored = ~seen & (least > 0)
        level = self.level(series, origin)[:, None]
        counts = (seen | censored) & (period <= last)
        value = np.where(censored, least, units) / level
        return np.stack([value, counts * np.sqrt(level), censored], axis=-1).astype(np.float32)

    def _demand(self, series: Rows, period: Rows) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        """Return units, 0 where not observed, and whether they were observed, of periods `[B, N]`."""
        there = np.maximum(period, 0)
        seen = self.panel.observed[series[:, None], there] & (period >= 0)
        return np.where(seen, self.panel.y[series[:, None], there], 0.0), seen

    def _known(self, series: Rows, period: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the series' own and the shared covariates of periods `[B, N]`, each `[B, N, K]`."""
        own = self._standard.apply(self.panel.known[series[:, None], period], self.panel.known_names)
        return own, self._standard.apply(self.panel.shared[period], self.panel.shared_names)

    def _same_season(self, demand: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.floating]:
        """Return the mean and the last of the context's demand at each lead's place in the season, as logs `[B, H, 2]`.

        The mean counts one period at the item's level, so that a context without that place gives 1.
        """
        lead = np.arange(1, self.shape.horizon + 1)
        season = self._rhythm.season
        newest = self.shape.context - 1 + lead - season * -(-lead // season)
        place = newest[:, None] - season * np.arange(max(self.shape.context // season, 1))
        there = np.maximum(place, 0)
        counts = seen[:, there] & (place >= 0)
        units = np.where(counts, demand[:, there], 0.0)
        mean = (units.sum(axis=-1) + 1) / (counts.sum(axis=-1) + 1)
        return np.log1p(np.stack([mean, units[..., 0]], axis=-1))

    def _year_before(self, series: Rows, origin: Rows, level: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return demand about each lead's period in the year before, as a log, and the share observed `[B, H, 2]`."""
        days = self.panel.period_days
        reach = _YEAR_REACH_DAYS // (2 if days == 1 else days)
        lead = np.arange(1, self.shape.horizon + 1) - _YEAR_DAYS // days
        about = lead[:, None] + np.arange(-reach, reach + 1)
        units, seen = self._demand(series, (origin[:, None, None] + np.minimum(about, 0)).reshape(len(series), -1))
        counts = seen.reshape(-1, *about.shape) & (about <= 0)
        mean = (units.reshape(counts.shape) * counts).sum(axis=-1) / np.maximum(counts.sum(axis=-1), 1)
        return np.stack([np.log1p(mean / level[:, None]), counts.mean(axis=-1)], axis=-1)


def series_chunks(size: int, at_once: int = _SERIES_AT_ONCE) -> list[slice]:
    """Return slices that part so many series, so that no array of all of them is made."""
    return [slice(start, start + at_once) for start in range(0, size, at_once)]


def _state(demand: NDArray[np.floating], seen: NDArray[np.bool_], level: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return what is said of the items on their origins `[B, 4]`; see `STATE`."""
    recent = slice(-max(demand.shape[1] // _RECENT_SHARE, 1), None)
    seen_lately, seen_ever = seen[:, recent].sum(axis=1), seen.sum(axis=1)
    recently = np.where(seen_lately > 0, demand[:, recent].sum(axis=1) / np.maximum(seen_lately, 1), 1.0)
    selling = ((demand > 0) & seen).sum(axis=1) / np.maximum(seen_ever, 1)
    return np.stack([np.log(level), np.log1p(recently), seen.mean(axis=1), selling], axis=-1).astype(np.float32)


def _moments(values: NDArray[np.floating]) -> list[tuple[float, float]]:
    """Return mean and spread of each column of `[S, T, K]`, a part of the series at a time."""
    count = max(values.shape[0] * values.shape[1], 1)
    total, square = np.zeros(values.shape[-1]), np.zeros(values.shape[-1])
    for rows in series_chunks(values.shape[0]):
        total += values[rows].sum(axis=(0, 1), dtype=np.float64)
    for rows in series_chunks(values.shape[0]):
        square += ((values[rows] - total / count) ** 2).sum(axis=(0, 1), dtype=np.float64)
    spread = np.maximum(np.sqrt(square / count), _LEAST_SPREAD)
    return [(float(mean), float(deviation)) for mean, deviation in zip(total / count, spread, strict=True)]
