"""Trees on the feature table: boosted ones and random forests, both by LightGBM."""

from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from pipeline.candidates import LightGBMMeanSettings, LightGBMSettings, RandomForestSettings
from pipeline.models.base import QUANTILES, Progress
from pipeline.models.tabular.features import FeatureTable
from pipeline.models.tabular.forecaster import MeanTabular, Tabular, Units
from pipeline.models.tabular.rows import Sample

__all__ = ["LightGBM", "RandomForest"]

_PROGRESS_EVERY = 10
_MOST_WEIGHT = 25.0
"""So many times the mean weight a row has at most."""
_WIDEST_LOG_RATIO = 3.0


class _QuantileTrees(Tabular):
    """One ensemble of trees a quantile level, and one for the mean, on demand relative to what one expects.

    Quantiles are learnt of the logarithm of that ratio where a regression on plans is the base, of its square root
    elsewhere; both leave quantiles what they are and tame the largest sales. A row weighs as much as one expects of it,
    as in the weighted quantile loss.
    """

    settings: LightGBMSettings | RandomForestSettings
    _boosters: dict[str, lgb.Booster]

    def _learn(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        ratio = sample.y / sample.base
        data = lgb.Dataset(
            sample.features,
            self._tamed(ratio),
            weight=np.minimum(sample.base / sample.base.mean(), _MOST_WEIGHT),
            categorical_feature=[table.names.index(name) for name in table.categorical],
            params=self._common(),
            free_raw_data=False,
        )
        heads = {"mean": self._mean_objective()} | {
            f"q{level}": {"objective": "quantile", "alpha": level} for level in QUANTILES
        }
        self._boosters = {}
        trees = self.settings.trees
        for position, (name, objective) in enumerate(heads.items()):
            data.set_label(ratio if name == "mean" else self._tamed(ratio))
            told = _reporting(progress, position * trees, len(heads) * trees, name) if progress else None
            self._boosters[name] = lgb.train(
                self._common() | objective,
                data,
                trees,
                valid_sets=[data] if told else None,
                valid_names=["training"] if told else None,
                callbacks=[told] if told else None,
            )

    def _units(self, features: NDArray[np.float32], base: NDArray[np.floating]) -> Units:
        found = {
            name: np.asarray(booster.predict(features, num_threads=self.settings.threads))
            for name, booster in self._boosters.items()
        }
        ratio = self._untamed(np.stack([found[f"q{level}"] for level in QUANTILES], axis=-1))
        return np.sort(ratio, axis=-1) * base[:, None], found["mean"] * base

    def _tamed(self, ratio: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return what quantiles are learnt of."""
        if self._planned:
            return np.clip(np.log(np.maximum(ratio, 1e-9)), -_WIDEST_LOG_RATIO, _WIDEST_LOG_RATIO)
        return np.sqrt(ratio)

    def _untamed(self, tamed: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.exp(tamed) if self._planned else np.maximum(tamed, 0) ** 2

    def _save_model(self, folder: Path) -> None:
        for name, booster in self._boosters.items():
            (folder / f"{name}.txt").write_text(booster.model_to_string(), encoding="utf-8")

    def _load_model(self, folder: Path) -> None:
        self._boosters = {
            name: lgb.Booster(model_str=(folder / f"{name}.txt").read_text(encoding="utf-8"))
            for name in ("mean", *(f"q{level}" for level in QUANTILES))
        }

    def _common(self) -> dict[str, Any]:
        return _common(self.settings, self.seed)

    def _mean_objective(self) -> dict[str, Any]:
        return {"objective": "tweedie", "tweedie_variance_power": 1.3}


class LightGBM(_QuantileTrees):
    """Gradient-boosted trees, a quantile loss for each level and the Tweedie deviance for the mean.

    (Ke et al., LightGBM, NeurIPS 2017; the direct multi-horizon form with one model a quantile is that of the M5
    Uncertainty competition's winners, Makridakis et al., International Journal of Forecasting 38(4), 2022.)
    """

    name: ClassVar[str] = "lightgbm"
    settings: LightGBMSettings

    def _common(self) -> dict[str, Any]:
        return super()._common() | {"learning_rate": self.settings.learning_rate}


class RandomForest(_QuantileTrees):
    """Random forests whose leaves hold quantiles: averaged over the trees, they are those of the forest.

    (Breiman, Random Forests, Machine Learning 45, 2001; quantiles of leaves: Meinshausen, Quantile Regression Forests,
    JMLR 7, 2006. LightGBM's random forest mode grows the trees, on bagged rows and columns.)
    """

    name: ClassVar[str] = "random_forest"
    settings: RandomForestSettings

    def _common(self) -> dict[str, Any]:
        return super()._common() | {"boosting": "rf"}

    def _mean_objective(self) -> dict[str, Any]:
        return {"objective": "regression"}


class LightGBMMean(MeanTabular):
    """Gradient-boosted trees for the mean alone, by the Tweedie or Poisson deviance: a tenth of the ten heads' cost."""

    name: ClassVar[str] = "lightgbm_mean"
    settings: LightGBMMeanSettings
    _booster: lgb.Booster

    def _learn_mean(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        data = lgb.Dataset(
            sample.features,
            sample.y / sample.base,
            weight=np.sqrt(sample.base),
            categorical_feature=[table.names.index(name) for name in table.categorical],
            params=self._parameters,
        )
        told = _reporting(progress, 0, self.settings.trees, "loss") if progress else None
        self._booster = lgb.train(
            self._parameters,
            data,
            self.settings.trees,
            valid_sets=[data] if told else None,
            valid_names=["training"] if told else None,
            callbacks=[told] if told else None,
        )

    def _relative_mean(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self._booster.predict(features, num_threads=self.settings.threads))

    def _save_mean(self, folder: Path) -> None:
        (folder / "mean.txt").write_text(self._booster.model_to_string(), encoding="utf-8")

    def _load_mean(self, folder: Path) -> None:
        self._booster = lgb.Booster(model_str=(folder / "mean.txt").read_text(encoding="utf-8"))

    @property
    def _parameters(self) -> dict[str, Any]:
        deviance: dict[str, Any] = {"objective": self.settings.objective}
        if self.settings.objective == "tweedie":
            deviance["tweedie_variance_power"] = self.settings.variance_power
        return _common(self.settings, self.seed) | deviance | {"learning_rate": self.settings.learning_rate}


def _common(settings: LightGBMSettings | LightGBMMeanSettings | RandomForestSettings, seed: int) -> dict[str, Any]:
    """Return the parameters that all trees share."""
    return {
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows_in_leaf,
        "feature_fraction": settings.feature_share,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "max_bin": 127,
        "cat_smooth": 50,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads,
        "verbosity": -1,
    }


def _reporting(progress: Progress, done: int, steps: int, name: str) -> Any:  # noqa: ANN401 - its type is private
    """Return a callback that tells the loss on the training rows as steps of a longer way."""

    def report(env: lgb.callback.CallbackEnv) -> None:
        step = env.iteration + 1
        if step % _PROGRESS_EVERY == 0 or step == env.end_iteration:
            progress(done + step, steps, {name: env.evaluation_result_list[0][2]})

    return report
