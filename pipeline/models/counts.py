"""Counts around a mean: each series' dispersion, and the negative binomial's quantiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from pipeline.models.base import QUANTILES
from pipeline.models.levels import positions
from pipeline.preprocess.panel import Panel

__all__ = ["CountSpread"]

_PRIOR_PERIODS = 20.0
"""Periods' worth of weight that all series' dispersion has in one series' dispersion."""
_LEAST_DISPERSION, _MOST_DISPERSION = 0.02, 10.0
_LEAST_MEAN = 1e-6


@dataclass(frozen=True)
class CountSpread:
    """How far counts scatter about their mean: variance = mean + dispersion x mean².

    The dispersion is estimated by moments (Cameron and Trivedi, Regression Analysis of Count Data, 2nd ed., 3.3), a
    series' own shrunk to all series' together.
    """

    unique_id: NDArray[np.str_]
    """Ids of the series seen `[S]`."""
    dispersion: NDArray[np.float64]
    """`[S]`"""
    pooled: float
    """Dispersion of a series not seen."""

    @classmethod
    def of(
        cls,
        unique_id: NDArray[np.str_],
        series: NDArray[np.intp],
        y: NDArray[np.floating],
        mean: NDArray[np.floating],
    ) -> Self:
        """Return the spread of counts about the means that a model gave for them.

        Args:
            unique_id: ids of the S series.
            series: position of each count's series `[N]`.
            y: counts `[N]`.
            mean: the model's means for them `[N]`.
        """
        size = len(unique_id)
        excess = np.bincount(series, (y - mean) ** 2 - mean, size)
        square = np.bincount(series, mean.astype(np.float64) ** 2, size)
        prior = _PRIOR_PERIODS * square / np.maximum(np.bincount(series, minlength=size), 1)
        pooled = _within(excess.sum() / max(square.sum(), _LEAST_MEAN))
        own = (excess + prior * pooled) / np.maximum(square + prior, _LEAST_MEAN)
        return cls(unique_id, np.where(square > 0, _within(own), pooled), float(pooled))

    @classmethod
    def unmeasured(cls, unique_id: NDArray[np.str_]) -> Self:
        """Return the spread of series of which nothing is known: the variance is mean + mean²."""
        return cls(unique_id, np.ones(len(unique_id)), 1.0)

    def quantiles(self, panel: Panel, mean: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the negative binomial's quantiles about the panel's means `[S, H]` -> `[S, H, Q]`."""
        size = 1 / self._of(panel)[:, None]
        probability = size / (size + np.maximum(mean, _LEAST_MEAN))
        return nbinom.ppf(np.asarray(QUANTILES), size[..., None], probability[..., None])

    def _of(self, panel: Panel) -> NDArray[np.float64]:
        row, known = positions(self.unique_id, panel.unique_id)
        return np.where(known, self.dispersion[row], self.pooled)

    def as_json(self) -> dict[str, Any]:
        """Return the spread as plain JSON."""
        return {
            "unique_id": self.unique_id.tolist(),
            "dispersion": self.dispersion.tolist(),
            "pooled": self.pooled,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(np.asarray(content["unique_id"], np.str_), np.asarray(content["dispersion"]), content["pooled"])


def _within(dispersion: Any) -> Any:  # noqa: ANN401 - a scalar or an array, and the same comes back
    return np.clip(dispersion, _LEAST_DISPERSION, _MOST_DISPERSION)
