"""Season factors: how demand on a weekday, or at a time of the year, stands to a series' mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import positions
from pipeline.preprocess.panel import Panel

__all__ = ["SeasonFactors"]

_WEEKDAY_DAYS = 364
"""Trailing days from which weekday factors are taken: whole weeks of about a year."""
_PRIOR_UNITS = 1000.0
"""Units sold on each weekday, as many as all series' pattern has in one series' own."""
_HARMONICS = 3
"""Waves a year: as many as tell a quarter from the next."""
_LEAST_YEARS = 2
"""Years of history from which a time of the year is told from a trend."""
_YEAR_DAYS = 365.25
_RIDGE = 0.003
"""Weight of "no effect" in the first wave, a period; the k-th wave has k² times as much."""
_OFFSET = 0.1
"""Share of the level that is added before taking logs, so that a period without sales has one."""
_LEAST_SHARE = 0.05
"""Share of the level below which a period is one in which the market was closed."""


@dataclass(frozen=True)
class SeasonFactors:
    """Multiplicative season factors: a series' own for weekdays, all series' for the time of the year.

    A weekday's factor is the ratio of its units to the series' mean, shrunk to the ratio of all series together. The
    time of the year is a regression of all series' log total on Fourier terms beside a trend; where fewer than two
    years are known it has no effect. (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 3.4
    and 7.4; shrunk seasonal indices: Miller and Williams, International Journal of Forecasting 19(4), 2003.)
    """

    unique_id: NDArray[np.str_]
    """Ids of the series measured `[S]`."""
    weekday: NDArray[np.float64]
    """Factor of each place in the week, from Thursdays, when the calendar's day 0 was `[S, 7]`; `[S, 1]` of weeks."""
    pooled: NDArray[np.float64]
    """The same of a series not measured `[7]` or `[1]`."""
    year: NDArray[np.float64]
    """Effects of sine and cosine of each wave a year on the log of demand `[2 x waves]`."""

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Return the factors of a panel's series."""
        weekday, pooled = _weekday_factors(panel)
        return cls(panel.unique_id, weekday, pooled, _year_effects(panel))

    @classmethod
    def flat(cls, panel: Panel) -> Self:
        """Return factors that are 1 always."""
        size = len(panel.unique_id)
        return cls(panel.unique_id, np.ones((size, 1)), np.ones(1), np.zeros(2 * _HARMONICS))

    def over(self, panel: Panel, rows: slice, horizon: int) -> NDArray[np.float64]:
        """Return the factors of some series of a panel, over its history and the periods after it `[T + H, S]`."""
        days = _first_days(panel, horizon)
        row, known = positions(self.unique_id, panel.unique_id[rows])
        factors = np.where(known[:, None], self.weekday[row], self.pooled)
        year = np.exp(_waves(days) @ self.year)
        return np.asarray(factors.T[days.astype(np.int64) % factors.shape[1]] * year[:, None])

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the factors as named arrays."""
        return {"season_weekday": self.weekday, "season_pooled": self.pooled, "season_year": self.year}

    @classmethod
    def from_arrays(cls, unique_id: NDArray[np.str_], arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """Return what `arrays` gave."""
        return cls(unique_id, arrays["season_weekday"], arrays["season_pooled"], arrays["season_year"])


def _weekday_factors(panel: Panel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each series' own factors, shrunk to the pooled ones, and the pooled ones."""
    if panel.frequency == "W":
        return np.ones((len(panel.unique_id), 1)), np.ones(1)
    place = _first_days(panel, 0)[-_WEEKDAY_DAYS:].astype(np.int64) % 7
    on = (place[:, None] == np.arange(7)).astype(np.float64)
    observed = panel.observed[:, -_WEEKDAY_DAYS:]
    units = (panel.y[:, -_WEEKDAY_DAYS:] * observed) @ on
    days = observed @ on
    level = units.sum(axis=1) / np.maximum(days.sum(axis=1), 1)
    expected = days * level[:, None]
    pooled = _scaled_to_mean_one(np.where(expected.any(axis=0), _ratio(units.sum(axis=0), expected.sum(axis=0)), 1.0))
    own = (units + _PRIOR_UNITS * pooled) / (expected + _PRIOR_UNITS)
    return _scaled_to_mean_one(own), pooled


def _year_effects(panel: Panel) -> NDArray[np.float64]:
    """Return the effects of the time of the year on all series' log total, beside a trend."""
    days = _first_days(panel, 0)
    if len(days) * panel.period_days < _LEAST_YEARS * _YEAR_DAYS - panel.period_days:
        return np.zeros(2 * _HARMONICS)
    seen = panel.observed
    level = panel.y.sum(axis=1, where=seen, dtype=np.float64) / np.maximum(seen.sum(axis=1), 1)
    total = _ratio(panel.y.sum(axis=0, where=seen, dtype=np.float64), level @ seen)
    weight = seen.mean(axis=0) * (total > _LEAST_SHARE)
    trend = np.linspace(-1, 1, len(days))
    design = np.column_stack([np.ones(len(days)), trend, _waves(days)])
    wave = np.repeat(np.arange(1, _HARMONICS + 1), 2)
    penalty = np.concatenate([[1e-9, 1e-9], _RIDGE * len(days) * wave**2])
    weighed = design * weight[:, None]
    effects = np.linalg.solve(weighed.T @ design + np.diag(penalty), weighed.T @ np.log(total + _OFFSET))
    return np.asarray(effects[2:])


def _first_days(panel: Panel, horizon: int) -> NDArray[np.datetime64]:
    """Return the first day of each period of the history and of the horizon `[T + H]`."""
    return np.datetime64(panel.start, "D") + panel.period_days * np.arange(panel.y.shape[1] + horizon)


def _waves(days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return sine and cosine of each wave a year `[T, 2 x waves]`."""
    angle = 2 * np.pi * days.astype(np.int64)[:, None] / _YEAR_DAYS * np.arange(1, _HARMONICS + 1)
    return np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(len(days), -1)


def _ratio(units: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(units / np.where(expected > 0, expected, 1.0))


def _scaled_to_mean_one(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors whose mean over the week is 1; all 1 where nothing was sold."""
    mean = factors.mean(axis=-1, keepdims=True)
    return np.where(mean > 0, factors / np.where(mean > 0, mean, 1.0), 1.0)
