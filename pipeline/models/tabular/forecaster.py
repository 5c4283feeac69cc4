"""What all tabular forecasters share: rows drawn from the history, features, demand relative to the item's level."""

import json
from abc import abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Forecaster, Progress
from pipeline.models.counts import CountSpread
from pipeline.models.levels import Levels
from pipeline.models.rhythm import rhythm_of
from pipeline.models.scatter import Scatter
from pipeline.models.tabular.features import FeatureTable
from pipeline.models.tabular.regression import PlanRegression
from pipeline.models.tabular.rows import Rows, Sample, newest_rows, sampled_rows
from pipeline.preprocess.panel import Panel

__all__ = ["MeanTabular", "Tabular"]

_STATE_FILE = "state.json"
_FORGOTTEN_SHARE = 0.03
"""Share of the rows whose own history is hidden, so that new items are nothing new to a model."""
_LEAST_ROWS = 100
"""A held-out tail of fewer rows says nothing about scatter."""

Units = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Quantiles `[N, Q]` and mean `[N]`, in units."""


class Tabular(Forecaster):
    """One model for all series, origins and leads (direct over the horizon).

    There is nothing to start from in such a model, so that a warm start is a fresh start. A history without a single
    row to learn from leaves the items' levels, with a count spread around them.
    """

    _levels: Levels
    _learnt: bool
    _planned: bool
    """Whether demand is divided by what a regression on plans makes one expect."""

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Learn from rows drawn from the panel's history."""
        del warm_start
        self._levels = Levels.of(panel, rhythm_of(panel).level)
        self._planned = PlanRegression.suits(panel)
        series, origin, lead = sampled_rows(panel, self.settings.rows, self.seed)
        self._learnt = len(series) > 0
        if self._learnt:
            table = FeatureTable(panel, self._levels, planned=self._planned)
            forgotten = np.random.default_rng(self.seed).random(len(series)) < _FORGOTTEN_SHARE
            features, base = _seen(table, (series, origin, lead), forgotten)
            y = panel.y[series, origin + lead].astype(np.float64)
            self._learn(Sample(features, y, base, origin + lead), table, progress)
        return self

    def _predict(self, panel: Panel, horizon: int) -> Units:
        size = panel.y.shape[0]
        if not self._learnt:
            level = self._levels.at_end(panel, rhythm_of(panel).level)
            levels = np.repeat(level[:, None], horizon, axis=1)
            return CountSpread.unmeasured(panel.unique_id).quantiles(panel, levels), levels
        table = FeatureTable(panel, self._levels, planned=self._planned)
        features, base = _seen(table, newest_rows(panel, horizon), np.zeros(size * horizon, bool))
        quantiles, mean = self._units(features, base)
        return quantiles.reshape(size, horizon, -1), mean.reshape(size, horizon)

    def save(self, folder: Path) -> None:
        """Write the model's own files, and the rest as JSON."""
        state = {"levels": self._levels.as_json(), "learnt": self._learnt, "planned": self._planned}
        if self._learnt:
            self._save_model(folder)
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        self._levels = Levels.from_json(state["levels"])
        self._learnt, self._planned = state["learnt"], state["planned"]
        if self._learnt:
            self._load_model(folder)

    @abstractmethod
    def _learn(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        """Learn from a sample of at least one row."""

    @abstractmethod
    def _units(self, features: NDArray[np.float32], base: NDArray[np.floating]) -> Units:
        """Return quantiles and mean of rows, in units."""

    @abstractmethod
    def _save_model(self, folder: Path) -> None:
        """Write what `_learn` has learnt."""

    @abstractmethod
    def _load_model(self, folder: Path) -> None:
        """Read what `_save_model` wrote."""


class MeanTabular(Tabular):
    """A tabular forecaster of the mean alone; its quantiles are how demand scattered about it in a held-out tail."""

    _scatter: Scatter

    def _learn(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        tail = sample.target > sample.target.max() - _tail_periods(sample)
        early, late = sample.where(~tail), sample.where(tail)
        if min(len(early), len(late)) >= _LEAST_ROWS:
            self._learn_mean(early, table, None)
            self._scatter = Scatter.of(late.y, self._mean(late.features, late.base))
            self._learn_mean(sample, table, progress)
        else:
            self._learn_mean(sample, table, progress)
            self._scatter = Scatter.of(sample.y, self._mean(sample.features, sample.base))

    def _units(self, features: NDArray[np.float32], base: NDArray[np.floating]) -> Units:
        mean = self._mean(features, base)
        return self._scatter.quantiles(mean), mean

    def _mean(self, features: NDArray[np.float32], base: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.maximum(self._relative_mean(features), 0) * base

    def _save_model(self, folder: Path) -> None:
        self._scatter.save(folder / "scatter.json")
        self._save_mean(folder)

    def _load_model(self, folder: Path) -> None:
        self._scatter = Scatter.load(folder / "scatter.json")
        self._load_mean(folder)

    @abstractmethod
    def _learn_mean(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        """Learn the mean of demand relative to its base."""

    @abstractmethod
    def _relative_mean(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean of demand relative to its base `[N]`."""

    @abstractmethod
    def _save_mean(self, folder: Path) -> None:
        """Write what `_learn_mean` has learnt."""

    @abstractmethod
    def _load_mean(self, folder: Path) -> None:
        """Read what `_save_mean` wrote."""


def _seen(
    table: FeatureTable, rows: tuple[Rows, Rows, Rows], forgotten: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return features and base of rows; new series look as they do where a history was forgotten on purpose."""
    series, origin, lead = rows
    features, base = table.table(series, origin, lead), table.expected(series, origin, lead)
    new = forgotten | table.is_new(series, origin)
    if new.any():
        cold = features[new]
        table.forget(cold, series[new])
        features[new], base[new] = cold, table.prior(series[new])
    return features, base


def _tail_periods(sample: Sample) -> int:
    """Return how many of the newest periods are held out: a tenth of those that the sample is of."""
    return max(int(sample.target.max() - sample.target.min() + 1) // 10, 1)
