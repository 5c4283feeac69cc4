"""Models that need numbers on one scale: linear regression and support vector regression."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import LinearSVR

from pipeline.candidates import LinearSettings, SVRSettings
from pipeline.models.base import Progress
from pipeline.models.tabular.features import FeatureTable
from pipeline.models.tabular.forecaster import MeanTabular
from pipeline.models.tabular.rows import Sample

__all__ = ["SVR", "Linear"]

_WIDEST = 5.0
"""Spreads from the mean at which a feature is cut off."""
_MOST_CODES = 30
"""Codes of an attribute that get columns of their own: the most frequent ones."""
_SVR_PASSES = 2_000
"""Passes over the rows after which the solver stops, converged or not."""
_MOST_RELATIVE = 20.0
"""Demand above this many times its level counts as this many in a fit."""


class _Scaled(MeanTabular):
    """A linear model of standardised features, of one column a frequent code, and of what a subclass adds to them."""

    _arrays: dict[str, NDArray[np.float64]]

    def _learn_mean(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        codes = [table.names.index(name) for name in table.categorical]
        self._arrays = _scale_of(sample.features, codes)
        inputs = self._expanded(_scaled(sample.features, self._arrays), learn=True)
        relative = np.minimum(sample.y / sample.base, _MOST_RELATIVE)
        coefficients, intercept = self._fitted(inputs, relative, np.sqrt(sample.base))
        self._arrays |= {"coefficients": coefficients, "intercept": np.atleast_1d(intercept).astype(np.float64)}
        if progress is not None:
            error = np.abs(inputs @ coefficients + intercept - relative).mean()
            progress(1, 1, {"loss": float(error)})

    def _relative_mean(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        inputs = self._expanded(_scaled(features, self._arrays), learn=False)
        found: NDArray[np.float64] = inputs @ self._arrays["coefficients"] + self._arrays["intercept"][0]
        return np.clip(found, 0, _MOST_RELATIVE)

    def _save_mean(self, folder: Path) -> None:
        np.savez(folder / "model.npz", allow_pickle=False, **self._arrays)

    def _load_mean(self, folder: Path) -> None:
        with np.load(folder / "model.npz", allow_pickle=False) as arrays:
            self._arrays = {name: arrays[name] for name in arrays.files}

    def _expanded(self, scaled: NDArray[np.float64], *, learn: bool) -> NDArray[np.float64]:
        """Return what the linear model is given of the scaled features `[N, F]`."""
        raise NotImplementedError

    def _fitted(
        self, inputs: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Return coefficients and intercept."""
        raise NotImplementedError


class Linear(_Scaled):
    """Linear regression with a ridge penalty (Hoerl and Kennard, Technometrics 12(1), 1970)."""

    name: ClassVar[str] = "linear"
    settings: LinearSettings

    def _expanded(self, scaled: NDArray[np.float64], *, learn: bool) -> NDArray[np.float64]:
        del learn
        return scaled

    def _fitted(
        self, inputs: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        model = Ridge(alpha=self.settings.penalty * len(y)).fit(inputs, y, sample_weight=weight / weight.mean())
        return model.coef_, float(model.intercept_)


class SVR(_Scaled):
    """Support vector regression with a radial kernel.

    The kernel is approximated by its values at sampled rows, so that cost grows with the rows and not with their
    square. (Smola and Schölkopf, A Tutorial on Support Vector Regression, Statistics and Computing 14, 2004; Williams
    and Seeger, Using the Nyström Method to Speed Up Kernel Machines, NeurIPS 2000.)
    """

    name: ClassVar[str] = "svr"
    settings: SVRSettings

    def _expanded(self, scaled: NDArray[np.float64], *, learn: bool) -> NDArray[np.float64]:
        gamma = self.settings.width / scaled.shape[1]
        if learn:
            landmarks = min(self.settings.landmarks, len(scaled))
            kernel = Nystroem(gamma=gamma, n_components=landmarks, random_state=self.seed).fit(scaled)
            self._arrays |= {"landmarks": kernel.components_, "whitening": kernel.normalization_}
        similar = rbf_kernel(scaled, self._arrays["landmarks"], gamma=gamma)
        return np.asarray(similar @ self._arrays["whitening"].T)

    def _fitted(
        self, inputs: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        model = LinearSVR(
            C=self.settings.regularisation, epsilon=self.settings.tube, random_state=self.seed, dual="auto"
        )
        model.fit(inputs, y, sample_weight=weight / weight.mean())
        return model.coef_, float(model.intercept_[0])


def _scale_of(features: NDArray[np.float32], codes: list[int]) -> dict[str, NDArray[np.float64]]:
    """Return mean and spread of the numbers, and the frequent codes of the attributes."""
    numbers = np.array([column for column in range(features.shape[1]) if column not in codes], np.intp)
    values = np.where(np.isfinite(features[:, numbers]), features[:, numbers], np.nan).astype(np.float64)
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(present, (values - mean) ** 2, 0).sum(axis=0) / count)
    frequent = np.full((len(codes), _MOST_CODES), -1.0)
    for row, column in enumerate(codes):
        found, counts = np.unique(features[:, column], return_counts=True)
        chosen = np.sort(found[np.argsort(-counts, kind="stable")[:_MOST_CODES]])
        frequent[row, : len(chosen)] = chosen
    return {
        "numbers": numbers.astype(np.float64),
        "codes": np.asarray(codes, np.float64),
        "mean": mean,
        "spread": np.where(spread > 0, spread, 1.0),
        "frequent": frequent,
    }


def _scaled(features: NDArray[np.float32], arrays: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the features with mean 0 and spread 1, a missing one as its mean, and a column a frequent code."""
    numbers, codes = arrays["numbers"].astype(np.intp), arrays["codes"].astype(np.intp)
    scaled = (features[:, numbers] - arrays["mean"]) / arrays["spread"]
    columns = [np.clip(np.nan_to_num(scaled, posinf=_WIDEST, neginf=-_WIDEST), -_WIDEST, _WIDEST)]
    columns += [
        (features[:, [column]] == known[known >= 0]).astype(np.float64)
        for column, known in zip(codes, arrays["frequent"], strict=True)
    ]
    return np.concatenate(columns, axis=1)
