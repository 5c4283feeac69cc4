"""Calibration: quantiles spread as wide as past forecasts have turned out to need."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import QUANTILES, Forecast
from pipeline.models.levels import trailing_sums
from pipeline.models.past import PastForecasts
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["Calibration", "calibrated_forward", "segments_of"]

_MEDIAN = QUANTILES.index(0.5)
_LEAD_BUCKETS = 3
"""A horizon is cut into so many parts of equal length; each has factors of its own."""
_ZERO_SHARES = (0.25, 0.7)
"""Shares of recent periods without a sale that part fast sellers, ordinary ones and slow ones."""
_PART_PRIOR_ROWS = 400.0
"""Rows' worth of weight that all leads and segments together have in a part's factor,"""
_COMMON_PRIOR_ROWS = 50.0
"""and that a factor of 1 has in theirs."""
_NARROWEST, _WIDEST = 0.4, 2.5
_MOST_ROWS = 200_000
"""Rows of a part that a factor is taken from at most."""


@dataclass(frozen=True)
class Calibration:
    """Factors by which each quantile's distance from the median is stretched.

    For each level the factor is the conformal quantile of (demand - median) / (quantile - median): with it, the
    quantile would have lain above as many past demands as its level asks for. Parts are the third of the horizon and
    the segment of the series; the fewer past rows a part has, the more it leans on all rows together. (Romano,
    Patterson and Candès, Conformalized Quantile Regression, NeurIPS 2019, with the multiplicative score of Kivaranovic,
    Johnson and Leeb, Adaptive, Distribution-Free Prediction Intervals for Deep Networks, AISTATS 2020.)
    """

    factors: NDArray[np.float64]
    """By lead bucket, segment and level `[B, G, Q]`."""

    @classmethod
    def none(cls) -> Self:
        """Return the calibration that leaves every quantile where it is."""
        return cls(np.ones((_LEAD_BUCKETS, len(_ZERO_SHARES) + 1, len(QUANTILES))))

    @classmethod
    def of(cls, past: PastForecasts, segments: NDArray[np.intp]) -> Self:
        """Return the factors that past forecasts ask for; none where nothing has come of them yet.

        Args:
            past: forecasts beside what came.
            segments: segment of each series on each origin `[O, S]`.
        """
        factors = cls.none().factors
        if not past.any_came:
            return cls(factors)
        horizon = past.y.shape[2]
        bucket = np.broadcast_to(_buckets(horizon), past.y.shape)
        segment = np.broadcast_to(segments[..., None], past.y.shape)
        came = np.isfinite(past.y)
        for position, level in enumerate(QUANTILES):
            if position == _MEDIAN:
                continue
            reach = past.quantiles[..., position] - past.quantiles[..., _MEDIAN]
            needed = past.y - past.quantiles[..., _MEDIAN]
            usable = came & (np.abs(reach) > 0)
            common = _stretch(needed[usable], reach[usable], level, (1.0, _COMMON_PRIOR_ROWS))
            for part in np.ndindex(factors.shape[:2]):
                here = usable & (bucket == part[0]) & (segment == part[1])
                factors[(*part, position)] = _stretch(needed[here], reach[here], level, (common, _PART_PRIOR_ROWS))
        return cls(factors)

    def apply(self, forecast: Forecast, segments: NDArray[np.intp], horizon: int) -> Forecast:
        """Return a forecast with stretched quantiles, in order and not below zero.

        Args:
            forecast: a forecast of S series.
            segments: segment of each series on its origin `[S]`.
            horizon: how many leads the past forecasts had; this one may have fewer.
        """
        median = forecast.quantiles[..., _MEDIAN : _MEDIAN + 1]
        bucket = _buckets(horizon)[: forecast.quantiles.shape[1]]
        factor = self.factors[bucket[None, :], segments[:, None]]
        stretched = np.maximum(median + factor * (forecast.quantiles - median), 0)
        ordered = np.sort(stretched, axis=-1).astype(np.float32)
        return Forecast(forecast.unique_id, forecast.origin, ordered, forecast.mean, forecast.frequency)

    def as_json(self) -> Mapping[str, Any]:
        """Return the factors as plain JSON."""
        return {"factors": self.factors.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(np.asarray(content["factors"]))

    def save(self, file: Path) -> None:
        """Write the factors as JSON."""
        file.write_text(json.dumps(self.as_json()), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return what `save` wrote."""
        return cls.from_json(json.loads(file.read_text(encoding="utf-8")))


def segments_of(panel: Panel, ends: Sequence[int] | NDArray[np.integer]) -> NDArray[np.intp]:
    """Return each series' segment after so many periods of the panel `[O, S]`: 0 sells often, 2 hardly ever."""
    window = rhythm_of(panel).level
    sold, seen = trailing_sums((panel.y > 0) & panel.observed), trailing_sums(panel.observed)
    rows = []
    for end in ends:
        first = max(int(end) - window, 0)
        periods = seen[:, end] - seen[:, first]
        zeros = 1 - np.where(periods > 0, (sold[:, end] - sold[:, first]) / np.maximum(periods, 1), 0)
        rows.append(np.searchsorted(_ZERO_SHARES, zeros, side="right"))
    return np.stack(rows)


def calibrated_forward(past: PastForecasts, panel: Panel) -> list[Forecast]:
    """Return the forecast of each origin, calibrated by what was known on that origin of the ones before it."""
    segments = segments_of(panel, past.ends)
    return [
        Calibration.of(past.known_at(position), segments).apply(
            past.forecast(position, panel), segments[position], past.y.shape[2]
        )
        for position in range(len(past.origins))
    ]


def _buckets(horizon: int) -> NDArray[np.intp]:
    """Return each lead's part of the horizon `[H]`."""
    return np.arange(horizon) * _LEAD_BUCKETS // horizon


def _stretch(
    needed: NDArray[np.floating], reach: NDArray[np.floating], level: float, prior: tuple[float, float]
) -> float:
    """Return the factor with which `factor * reach` lies above the needed distance as often as the level asks for.

    Args:
        needed: demand - median `[N]`.
        reach: quantile - median `[N]`.
        level: the quantile's level.
        prior: the factor to lean on, and its weight in rows.
    """
    if not len(needed):
        return prior[0]
    every = -(-len(needed) // _MOST_ROWS)
    ratio = (needed[::every] / reach[::every]).astype(np.float64)
    # Below the median a greater factor moves the quantile down: there the ratio has to be exceeded.
    share = level if level > QUANTILES[_MEDIAN] else 1 - level
    factor = np.quantile(ratio, min(share * (1 + 1 / len(ratio)), 1.0))
    weight = len(needed) / (len(needed) + prior[1])
    return float(np.clip(weight * factor + (1 - weight) * prior[0], _NARROWEST, _WIDEST))
