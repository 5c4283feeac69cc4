"""What past forecasts missed by: each series' error quantiles, leaning on all series' together."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import QUANTILES
from pipeline.models.levels import masked_quantiles, positions

__all__ = ["ErrorQuantiles"]

_STANDARD_NORMAL = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])


@dataclass(frozen=True)
class ErrorQuantiles:
    """Empirical quantiles of past errors, in multiples of a series' scale, one row a lead that was measured.

    (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.5, bootstrapped residuals.)
    """

    unique_id: NDArray[np.str_]
    """Ids of the series measured `[S]`."""
    own: NDArray[np.floating]
    """Each series' quantiles, leaning on the pooled ones `[S, L, Q]`."""
    pooled: NDArray[np.floating]
    """Quantiles of a series not measured `[L, Q]`."""

    @classmethod
    def of(
        cls,
        unique_id: NDArray[np.str_],
        errors: Iterable[tuple[NDArray[np.floating], NDArray[np.bool_]]],
        own_weight: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    ) -> Self:
        """Return the quantiles of errors, lead by lead; a lead without any error has those of the lead before.

        Args:
            unique_id: ids of the S series.
            errors: of each lead the errors over the series' scale, and where there is one, both `[S, N]`.
            own_weight: the weight of a series' own quantiles, 0 to 1, for its number of errors `[S] -> [S]`.
        """
        own, pooled = [], [_STANDARD_NORMAL]
        for error, seen in errors:
            pooled.append(np.quantile(error[seen], QUANTILES) if seen.any() else pooled[-1])
            weight = own_weight(seen.sum(axis=1).astype(float))[:, None]
            own.append(weight * masked_quantiles(error, seen, QUANTILES) + (1 - weight) * pooled[-1])
        return cls(unique_id, np.stack(own, axis=1), np.stack(pooled[1:]))

    def of_series(self, unique_id: NDArray[np.str_]) -> NDArray[np.floating]:
        """Return the quantiles of some series `[S, L, Q]`; one that was not measured has the pooled ones."""
        row, known = positions(self.unique_id, unique_id)
        return np.where(known[:, None, None], self.own[row], self.pooled)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the quantiles as named arrays."""
        return {"unique_id": self.unique_id, "errors": self.own, "pooled": self.pooled}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `arrays` gave."""
        return cls(arrays["unique_id"], arrays["errors"], arrays["pooled"])
