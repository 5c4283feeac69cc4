"""What the forecasters of single series have in common: season, choice of parameters, spread, and state."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates.statistical import LocalSettings
from pipeline.models.base import Forecaster, Progress
from pipeline.models.levels import Levels, positions
from pipeline.models.rhythm import rhythm_of
from pipeline.models.statistical.errors import ErrorQuantiles
from pipeline.models.statistical.history import History
from pipeline.models.statistical.season import SeasonFactors
from pipeline.preprocess.panel import Panel

__all__ = ["LocalForecaster"]

_ROLLED_PERIODS = {"D": 182, "W": 52}
"""Trailing origins whose forecasts choose parameters and measure the spread: half a year of days, a year of weeks."""
_WARM_UP_PERIODS = 20
"""Periods of history before the first such origin, where there are enough."""
_MEASURED_LEADS = 5
"""Leads at which errors are measured; between them their quantiles are interpolated."""
_PRIOR_CHOICE_ERRORS = 5.0
"""Errors' worth of weight that all series' have in the choice of one series' parameters."""
_PRIOR_ERRORS = 20.0
"""Errors' worth of weight that all series' quantiles have in one series' quantiles."""
_LEAST_EXPECTED = 0.1
"""Share of its level at which a series' spread stops falling with what is expected."""
_SERIES_AT_ONCE = 4096
"""Series that run through a recursion together; more would not fit a processor's cache."""
_LevelsAhead = Callable[
    [History, NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]],
    NDArray[np.float64],
]
_STATE_FILE, _LEVELS_FILE = "state.npz", "levels.json"


class LocalForecaster(Forecaster):
    """A recursion through each series' own history, with parameters from a grid, all series at once.

    `fit` divides demand by season factors, lets every parameter of the grid forecast from the origins of the last
    months, and keeps for each series the one with the least absolute error over all leads. The errors of those
    forecasts, relative to what was expected, give the quantiles; those of a short history lean on all series'.
    `predict` runs the recursion through the history to the origin with the parameters of the fit: it learns the
    series' new level and nothing else. An item with little history of its own leans on the level of its groups.

    A subclass says what the grid is, and how parameters turn a history into forecasts. (Rolling origins: Tashman,
    Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16(4), 2000.)
    """

    settings: LocalSettings

    @abstractmethod
    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        """Return the parameters to choose from; of equals the first is taken `[G, P]`."""

    @abstractmethod
    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """Return forecasts of the level, demand over season factor, with each series' parameters.

        Args:
            history: the history `[T, S]`.
            parameters: a row a parameter, a column a series `[P, S]`.
            origins: the last periods to know, consecutive positions in the history `[O]`.
            leads: ascending `[L]`.

        Returns:
            `[O, L, S]`
        """

    def _own_parameters(self, history: History, rows: slice) -> NDArray[np.float64] | None:
        """Return parameters that were estimated for each series, NaN for one without, to be tried beside the grid.

        Args:
            history: the history of the series in `rows`.
            rows: their positions in the panel of the fit.

        Returns:
            `[P, S]`, or nothing where a forecaster chooses from its grid alone.
        """
        return None

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Choose each series' parameters and measure its errors; there is nothing to start from."""
        del warm_start
        self._unique_id = panel.unique_id
        self._levels = Levels.of(panel, rhythm_of(panel).level)
        self._season = SeasonFactors.of(panel) if self.settings.seasonal else SeasonFactors.flat(panel)
        self._leads = np.unique(np.linspace(1, panel.horizon, _MEASURED_LEADS).round().astype(np.intp))
        level = self._levels.at_end(panel, rhythm_of(panel).level)
        self._choose_parameters(panel, level, progress)
        self._measure_errors(panel, level)
        return self

    def _choose_parameters(self, panel: Panel, level: NDArray[np.float64], progress: Progress | None) -> None:
        """Keep each series' best parameters, and the usual ones for series that the fit does not know."""
        grid = self._grid(panel)
        loss, errors = np.zeros((len(level), len(grid))), 0
        own, own_loss = np.full((len(level), grid.shape[1]), np.nan), np.full(len(level), np.inf)
        chunks = list(_chunks(panel))
        for step, rows in enumerate(chunks, start=1):
            past = self._past(panel, rows, level)
            for choice, parameters in enumerate(grid):
                loss[rows, choice] = past.loss(self._levels_ahead, parameters[:, None])
            errors += past.count
            estimated = self._own_parameters(past.history, rows)
            if estimated is not None:
                own[rows], own_loss[rows] = estimated.T, past.loss(self._levels_ahead, estimated)
            if progress:
                progress(step, len(chunks), {})
        usual = loss.sum(axis=0) / max(errors, 1)
        best = (loss + _PRIOR_CHOICE_ERRORS * usual).argmin(axis=1)
        better = own_loss < loss[np.arange(len(best)), best]
        self._parameters = np.where(better[:, None], own, grid[best])
        self._usual = grid[usual.argmin()]

    def _measure_errors(self, panel: Panel, level: NDArray[np.float64]) -> None:
        """Measure the errors that the chosen parameters made from past origins, lead by lead."""
        shape = (len(self._leads), len(level), len(_origins(panel, self._leads)))
        relative, known = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for rows in _chunks(panel):
            past = self._past(panel, rows, level)
            expected = past.expected(self._levels_ahead, self._parameters[rows].T)
            error = (past.units - expected) / _scale(expected, past.size)
            relative[:, rows], known[:, rows] = error.transpose(1, 2, 0), past.seen.transpose(1, 2, 0)
        self._errors = ErrorQuantiles.of(
            panel.unique_id, zip(relative, known, strict=True), lambda count: count / (count + _PRIOR_ERRORS)
        )

    def _past(self, panel: Panel, rows: slice, level: NDArray[np.float64]) -> "_Past":
        history = History.of(panel, rows, self._season, 0)
        return _Past.of(history, _origins(panel, self._leads), self._leads, level[rows])

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        origin, leads = np.array([panel.y.shape[1] - 1]), np.arange(1, horizon + 1)
        row, known = positions(self._unique_id, panel.unique_id)
        parameters = np.where(known[:, None], self._parameters[row], self._usual)
        prior = self._levels.prior(panel)
        point = np.empty((len(panel.unique_id), horizon))
        for rows in _chunks(panel):
            history = History.of(panel, rows, self._season, horizon)
            ahead = self._levels_ahead(history, parameters[rows].T, origin, leads)
            own_weight = np.minimum(history.learned.sum(axis=0) / rhythm_of(panel).recent, 1.0)
            leaning = own_weight * ahead + (1 - own_weight) * prior[rows]
            point[rows] = history.units_ahead(leaning, origin, leads)[0].T
        scale = _scale(point, self._levels.at_end(panel, rhythm_of(panel).level)[:, None])
        errors = _interpolated(self._errors.of_series(panel.unique_id), self._leads, leads)
        return point[..., None] + errors * scale[..., None], point

    def save(self, folder: Path) -> None:
        """Write parameters, season factors and error quantiles as `.npz` and the levels as JSON."""
        np.savez(
            folder / _STATE_FILE,
            allow_pickle=False,
            parameters=self._parameters,
            usual=self._usual,
            leads=self._leads,
            **self._errors.arrays(),
            **self._season.arrays(),
        )
        (folder / _LEVELS_FILE).write_text(json.dumps(self._levels.as_json()), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        with np.load(folder / _STATE_FILE, allow_pickle=False) as arrays:
            self._unique_id, self._leads = arrays["unique_id"], arrays["leads"]
            self._parameters, self._usual = arrays["parameters"], arrays["usual"]
            self._errors = ErrorQuantiles.from_arrays(arrays)
            self._season = SeasonFactors.from_arrays(self._unique_id, arrays)
        self._levels = Levels.from_json(json.loads((folder / _LEVELS_FILE).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class _Past:
    """Some series' past origins: what came at each lead, to be held against what was expected."""

    history: History
    origins: NDArray[np.intp]
    """`[O]`"""
    leads: NDArray[np.intp]
    """`[L]`"""
    size: NDArray[np.float64]
    """Recent level of each series, in units a period `[S]`."""
    units: NDArray[np.float64]
    """Units that came `[O, L, S]`."""
    seen: NDArray[np.bool_]
    """Where that is known `[O, L, S]`."""

    @classmethod
    def of(
        cls, history: History, origins: NDArray[np.intp], leads: NDArray[np.intp], size: NDArray[np.float64]
    ) -> Self:
        """Return what came after the origins of a history."""
        target = origins[:, None] + leads
        last = len(history.units) - 1
        inside = np.minimum(target, last)
        seen = history.observed[inside] & (target <= last)[..., None]
        return cls(history, origins, leads, size, history.units[inside], seen)

    @property
    def count(self) -> int:
        """Number of forecasts that can be held against something."""
        return int(self.seen.sum())

    def expected(self, levels_ahead: _LevelsAhead, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the units that parameters `[P, S]` or `[P, 1]` let expect `[O, L, S]`."""
        given = np.broadcast_to(parameters, (len(parameters), len(self.size)))
        levels = levels_ahead(self.history, given, self.origins, self.leads)
        return self.history.units_ahead(levels, self.origins, self.leads)

    def loss(self, levels_ahead: _LevelsAhead, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of absolute errors over the series' size `[S]`.

        It is infinite where a parameter is missing, or lets a forecast grow beyond bounds.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            expected = self.expected(levels_ahead, parameters)
            total = np.abs(self.units - expected).sum(axis=(0, 1), where=self.seen) / self.size
        return np.where(np.isfinite(expected).all(axis=(0, 1)) & np.isfinite(total), total, np.inf)


def _chunks(panel: Panel) -> Iterator[slice]:
    """Yield the positions of the series that are worked on together."""
    size = len(panel.unique_id)
    for first in range(0, size, _SERIES_AT_ONCE):
        yield slice(first, min(first + _SERIES_AT_ONCE, size))


def _origins(panel: Panel, leads: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the trailing periods that past forecasts start from; the last ones have only part of their leads."""
    periods = panel.y.shape[1]
    first = max(periods - _ROLLED_PERIODS[panel.frequency] - int(leads[-1]), min(_WARM_UP_PERIODS, periods // 2))
    return np.arange(first, periods)


def _scale(expected: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what errors are relative to: the expected units, or for very few a share of the series' level."""
    return np.asarray(np.maximum(expected, _LEAST_EXPECTED * level))


def _interpolated(
    quantiles: NDArray[np.floating], measured: NDArray[np.intp], leads: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return error quantiles at all leads, from those at the measured ones `[S, L, Q]` -> `[S, H, Q]`."""
    after = np.clip(np.searchsorted(measured, leads), 0, len(measured) - 1)
    before = np.maximum(after - 1, 0)
    gap = np.maximum(measured[after] - measured[before], 1)
    weight = np.clip((leads - measured[before]) / gap, 0, 1)[:, None]
    return np.asarray((1 - weight) * quantiles[:, before] + weight * quantiles[:, after])
