"""The seasonal naive: the baseline that every other forecaster is measured against."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates import SeasonalNaiveSettings
from pipeline.models.base import Forecaster, Progress
from pipeline.models.levels import Levels
from pipeline.models.rhythm import rhythm_of
from pipeline.models.statistical.errors import ErrorQuantiles
from pipeline.preprocess.panel import Panel

__all__ = ["SeasonalNaive"]

_ERRORS_FILE, _LEVELS_FILE = "errors.npz", "levels.json"
_OWN_ERRORS = 56
"""Past errors from which on a series' own error quantiles are used alone."""


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
        level = self._levels.at_end(panel, rhythm.level)[:, None]
        seasons = range(1, -(-panel.horizon // self._season) + 1)
        errors = (self._past_errors(panel, ahead) for ahead in seasons)
        relative = ((error / level, seen) for error, seen in errors)
        self._errors = ErrorQuantiles.of(panel.unique_id, relative, lambda count: np.minimum(count / _OWN_ERRORS, 1))
        return self

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        level = self._levels.at_end(panel, rhythm_of(panel).level)
        lead = np.arange(horizon)
        point = self._last_season(panel, level)[:, lead % self._season]
        errors = self._errors.of_series(panel.unique_id) * level[:, None, None]
        ahead = np.minimum(lead // self._season, errors.shape[1] - 1)
        return point[..., None] + errors[:, ahead], point

    def save(self, folder: Path) -> None:
        """Write the error quantiles as `.npz` and the levels as JSON."""
        np.savez(folder / _ERRORS_FILE, allow_pickle=False, season=self._season, **self._errors.arrays())
        (folder / _LEVELS_FILE).write_text(json.dumps(self._levels.as_json()), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        with np.load(folder / _ERRORS_FILE, allow_pickle=False) as arrays:
            self._errors = ErrorQuantiles.from_arrays(arrays)
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
