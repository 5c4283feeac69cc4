"""The seasonal naive: the baseline that every other forecaster is measured against."""

import json
from pathlib import Path
from statistics import NormalDist
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates import SeasonalNaiveSettings
from pipeline.models.base import QUANTILES, Forecaster, Progress
from pipeline.models.levels import Levels, masked_quantiles, positions
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["SeasonalNaive"]

_ERRORS_FILE, _LEVELS_FILE = "errors.npz", "levels.json"
_OWN_ERRORS = 56
"""Past errors from which on a series' own error quantiles are used alone."""
_STANDARD_NORMAL = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])


class SeasonalNaive(Forecaster):
    """Demand repeats after a season: the forecast is the last observed value of the same place in the season.

    Quantiles add the empirical quantiles of the errors that the same forecast made in the series' own past, by how
    many seasons it looked ahead (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.2 and
    5.5). A series with few errors leans on all series' errors relative to their levels. A history shorter than a season
    repeats its last period.
    """

    name: ClassVar[str] = "seasonal_naive"
    settings: SeasonalNaiveSettings
    _season: int
    """After how many periods demand repeats."""

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Measure each series' past errors; there is nothing to start from and no learning curve."""
        del warm_start, progress
        rhythm = rhythm_of(panel)
        season = self.settings.season_periods or rhythm.season
        self._season = season if season < panel.y.shape[1] else 1
        self._levels = Levels.of(panel, rhythm.level)
        level = self._levels.at_end(panel, rhythm.level)
        seasons = range(1, -(-panel.horizon // self._season) + 1)
        errors = [self._past_errors(panel, ahead) for ahead in seasons]
        self._pooled = _pooled_quantiles(errors, level)
        self._errors = np.stack(
            [
                _leaning(error, seen, pooled * level[:, None])
                for (error, seen), pooled in zip(errors, self._pooled, strict=True)
            ],
            axis=1,
        )
        self._unique_id = panel.unique_id
        return self

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        level = self._levels.at_end(panel, rhythm_of(panel).level)
        lead = np.arange(horizon)
        point = self._last_season(panel, level)[:, lead % self._season]
        ahead = np.minimum(lead // self._season, self._errors.shape[1] - 1)
        return point[..., None] + self._error_quantiles(panel, level)[:, ahead], point

    def save(self, folder: Path) -> None:
        """Write the error quantiles as `.npz` and the levels as JSON."""
        arrays = {"unique_id": self._unique_id, "errors": self._errors, "pooled": self._pooled}
        np.savez(folder / _ERRORS_FILE, allow_pickle=False, season=self._season, **arrays)
        (folder / _LEVELS_FILE).write_text(json.dumps(self._levels.as_json()), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        with np.load(folder / _ERRORS_FILE, allow_pickle=False) as arrays:
            self._unique_id, self._errors, self._pooled = (arrays[name] for name in ("unique_id", "errors", "pooled"))
            self._season = int(arrays["season"])
        self._levels = Levels.from_json(json.loads((folder / _LEVELS_FILE).read_text(encoding="utf-8")))

    def _past_errors(self, panel: Panel, ahead: int) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        """Return the errors of looking so many seasons ahead and where there is one, both `[S, N]`."""
        lag = min(ahead * self._season, panel.y.shape[1])
        back = panel.y.shape[1] - lag
        return panel.y[:, lag:] - panel.y[:, :back], panel.observed[:, lag:] & panel.observed[:, :back]

    def _last_season(self, panel: Panel, level: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the last observed value of each place in the season, the level where there is none `[S, season]`."""
        season = self._season
        s, t = panel.y.shape
        missing = -t % season
        y = np.pad(panel.y, ((0, 0), (missing, 0))).reshape(s, -1, season)[:, ::-1]
        observed = np.pad(panel.observed, ((0, 0), (missing, 0))).reshape(s, -1, season)[:, ::-1]
        newest = observed.argmax(axis=1)[:, None]
        value = np.take_along_axis(y, newest, axis=1)[:, 0]
        return np.where(observed.any(axis=1), value, level[:, None])

    def _error_quantiles(self, panel: Panel, level: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return each series' error quantiles by seasons ahead `[S, seasons, Q]`; an unknown series has the pooled."""
        row, known = positions(self._unique_id, panel.unique_id)
        return np.where(known[:, None, None], self._errors[row], self._pooled * level[:, None, None])


def _pooled_quantiles(
    errors: list[tuple[NDArray[np.floating], NDArray[np.bool_]]], level: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return quantiles of all series' errors relative to their levels, by seasons ahead `[seasons, Q]`."""
    pooled = []
    newest = _STANDARD_NORMAL
    for error, seen in errors:
        if seen.any():
            newest = np.quantile((error / level[:, None])[seen], QUANTILES)
        pooled.append(newest)
    return np.stack(pooled)


def _leaning(error: NDArray[np.floating], seen: NDArray[np.bool_], pooled: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return own error quantiles, leaning on the pooled ones the more the fewer errors there are `[S, Q]`."""
    weight = np.minimum(seen.sum(axis=1) / _OWN_ERRORS, 1.0)[:, None]
    return weight * masked_quantiles(error, seen, QUANTILES) + (1 - weight) * pooled
