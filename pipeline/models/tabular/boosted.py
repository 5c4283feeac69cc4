"""LightGBM: gradient-boosted trees on the feature table."""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from pipeline.candidates import LightGBMSettings
from pipeline.models.base import Forecaster, Progress
from pipeline.models.counts import CountSpread
from pipeline.models.levels import Levels
from pipeline.models.rhythm import rhythm_of
from pipeline.models.tabular.features import FeatureTable, Rows
from pipeline.preprocess.panel import Panel

__all__ = ["LightGBM"]

_PROGRESS_EVERY = 10
_MODEL_FILE, _STATE_FILE = "model.txt", "state.json"


class LightGBM(Forecaster):
    """Gradient-boosted trees for the mean of every lead at once, with each series' count spread around it.

    The trees minimise the Tweedie deviance, which suits demand with many zeros, of demand divided by the item's
    level; the quantiles are the negative binomial's. Trees have no weights to start from, so that a warm start is a
    fresh start. (Ke et al., LightGBM, NeurIPS 2017; the direct multi-horizon form is that of the M5 competition's
    winners, Makridakis et al., International Journal of Forecasting 38(4), 2022.)
    """

    name: ClassVar[str] = "lightgbm"
    settings: LightGBMSettings

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Grow the trees on rows sampled from the panel's history; a history of one period leaves the group levels."""
        del warm_start
        self._levels = Levels.of(panel, rhythm_of(panel).level)
        table = FeatureTable(panel, self._levels)
        series, origin, lead = _sampled_rows(panel, self.settings.rows, self.seed)
        y = panel.y[series, origin + lead].astype(np.float64)
        self._model: lgb.Booster | None = None
        mean = table.level(series, origin)
        if len(y):
            features = table.table(series, origin, lead)
            self._model = self._grown(table, features, y, mean, progress)
            mean = mean * self._predicted(features)
        self._spread = CountSpread.of(panel.unique_id, series, y, mean)
        return self

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        table = FeatureTable(panel, self._levels)
        size, periods = panel.y.shape
        series = np.repeat(np.arange(size), horizon)
        lead = np.tile(np.arange(1, horizon + 1), size)
        origin = np.full_like(series, periods - 1)
        mean = table.level(series, origin)
        if self._model:
            mean = mean * self._predicted(table.table(series, origin, lead))
        mean = mean.reshape(size, horizon)
        return self._spread.quantiles(panel, mean), mean

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's text and the rest as JSON."""
        if self._model:
            (folder / _MODEL_FILE).write_text(self._model.model_to_string(), encoding="utf-8")
        state = {"levels": self._levels.as_json(), "spread": self._spread.as_json()}
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        self._levels = Levels.from_json(state["levels"])
        self._spread = CountSpread.from_json(state["spread"])
        text = folder / _MODEL_FILE
        self._model = lgb.Booster(model_str=text.read_text(encoding="utf-8")) if text.exists() else None

    def _grown(
        self,
        table: FeatureTable,
        features: NDArray[np.float32],
        y: NDArray[np.floating],
        level: NDArray[np.floating],
        progress: Progress | None,
    ) -> lgb.Booster:
        """Return the trees grown on demand relative to its level, fast sellers weighing more, as in the score."""
        data = lgb.Dataset(
            features,
            y / level,
            weight=np.sqrt(level),
            categorical_feature=[table.names.index(name) for name in table.categorical],
            params=self._params,
        )
        return lgb.train(
            self._params,
            data,
            self.settings.trees,
            valid_sets=[data] if progress else None,
            valid_names=["training"] if progress else None,
            callbacks=[_reporting(progress)] if progress else None,
        )

    @property
    def _params(self) -> dict[str, Any]:
        return {
            "objective": "tweedie",
            "tweedie_variance_power": self.settings.variance_power,
            "num_leaves": self.settings.leaves,
            "learning_rate": self.settings.learning_rate,
            "min_data_in_leaf": self.settings.min_rows_in_leaf,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "max_bin": 63,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.settings.threads,
            "verbosity": -1,
        }

    def _predicted(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._model is None:
            return np.ones(len(features))
        return np.asarray(self._model.predict(features, num_threads=self.settings.threads))


def _sampled_rows(panel: Panel, count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return series, origins and leads of at most so many rows whose targets are observed, each `[N]`."""
    size, periods = panel.y.shape
    first = min(rhythm_of(panel).warm_up, periods // 2) if periods > 1 else 1
    shape = (size, max(periods - first, 0), panel.horizon)
    series, target, lead = np.unravel_index(_drawn(int(np.prod(shape)), count, seed), shape)
    target, lead = target + first, lead + 1
    origin = target - lead
    usable = (origin >= first - 1) & panel.observed[series, target]
    return series[usable], origin[usable], lead[usable]


def _drawn(total: int, count: int, seed: int) -> Rows:
    """Return so many of the numbers below the total, each once at most unless the total is far larger."""
    rng = np.random.default_rng(seed)
    if total <= 4 * count:
        return rng.permutation(total)[:count]
    return rng.integers(total, size=count)


def _reporting(progress: Progress) -> Any:  # noqa: ANN401 - LightGBM's own callback type is private
    def report(env: lgb.callback.CallbackEnv) -> None:
        step = env.iteration + 1
        if step % _PROGRESS_EVERY == 0 or step == env.end_iteration:
            progress(step, env.end_iteration, {"loss": env.evaluation_result_list[0][2]})

    return report
