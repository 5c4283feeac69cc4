"""Scatter: how demand spreads about the mean that a model gives for it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import QUANTILES

__all__ = ["Scatter"]

_MOST_BINS = 8
_LEAST_ROWS_IN_BIN = 200
_LEAST_MEAN = 1e-3
_MOST_DISPERSION = 10.0


@dataclass(frozen=True)
class Scatter:
    """Quantiles of standardised errors by the size of the mean.

    An error is divided by sqrt(mean + dispersion x mean²), the standard deviation of a negative binomial (Cameron and
    Trivedi, Regression Analysis of Count Data, 2nd ed., 3.3), so that errors of slow and of fast sellers are alike.
    What shape is left is taken as it was, in bins of the mean, and interpolated between them.
    """

    dispersion: float
    centers: NDArray[np.float64]
    """Logarithm of the typical mean of each bin, ascending `[B]`."""
    errors: NDArray[np.float64]
    """Quantiles of the standardised errors by bin `[B, Q]`."""

    @classmethod
    def of(cls, y: NDArray[np.floating], mean: NDArray[np.floating]) -> Self:
        """Return how demands scatter about the means that a model gave for them, both `[N]`."""
        mean = np.maximum(mean, _LEAST_MEAN)
        dispersion = float(np.clip(((y - mean) ** 2 - mean).sum() / (mean**2).sum(), 0, _MOST_DISPERSION))
        error = (y - mean) / _deviation(mean, dispersion)
        order = np.argsort(mean, kind="stable")
        bins = np.array_split(order, int(np.clip(len(order) // _LEAST_ROWS_IN_BIN, 1, _MOST_BINS)))
        centers = np.array([np.log(mean[rows]).mean() for rows in bins])
        return cls(dispersion, centers, np.array([np.quantile(error[rows], QUANTILES) for rows in bins]))

    def quantiles(self, mean: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the quantiles about means, none below zero `[N]` -> `[N, Q]`."""
        mean = np.maximum(mean, _LEAST_MEAN)
        place = np.log(mean)
        shape = np.stack([np.interp(place, self.centers, column) for column in self.errors.T], axis=-1)
        return np.maximum(mean[:, None] + shape * _deviation(mean, self.dispersion)[:, None], 0)

    def save(self, file: Path) -> None:
        """Write the scatter as JSON."""
        content = {"dispersion": self.dispersion, "centers": self.centers.tolist(), "errors": self.errors.tolist()}
        file.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return what `save` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(content["dispersion"], np.asarray(content["centers"]), np.asarray(content["errors"]))


def _deviation(mean: NDArray[np.floating], dispersion: float) -> NDArray[np.float64]:
    return np.sqrt(mean + dispersion * mean**2)
