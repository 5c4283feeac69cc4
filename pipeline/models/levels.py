"""What is typical of an item before and beside its own history: label codes, group levels, trailing sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess.panel import Panel

__all__ = ["Levels", "StaticCodes", "masked_quantiles", "positions", "trailing_sums"]

_PRIOR_ITEMS = 2.0
"""Items' worth of weight that a group's parent has in the group's level."""
_PRIOR_PERIODS = 3.0
"""Periods' worth of weight that the group has in an item's level."""
_LEAST_LEVEL = 0.02
"""Units a period below which no level falls: one unit in fifty days or weeks."""


@dataclass(frozen=True)
class StaticCodes:
    """The labels that a fitted model knows: codes follow labels, so that a later panel may number them otherwise."""

    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Return the labels that the panel's series bear."""
        labels = tuple(
            tuple(levels[code] for code in np.unique(codes) if 0 <= code < len(levels))
            for levels, codes in zip(panel.static_levels, panel.static.T, strict=True)
        )
        return cls(panel.static_names, labels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes of each attribute, the unknown included."""
        return tuple(len(labels) + 1 for labels in self.labels)

    def encode(self, panel: Panel) -> NDArray[np.int32]:
        """Return each series' codes `[S, C]`; 0 stands for a label or attribute unknown when the model was fitted."""
        coded = np.zeros((panel.y.shape[0], len(self.names)), np.int32)
        for column, (name, labels) in enumerate(zip(self.names, self.labels, strict=True)):
            if name in panel.static_names:
                coded[:, column] = _recode(panel, panel.static_names.index(name), labels)
        return coded

    def as_json(self) -> dict[str, Any]:
        """Return the codes as plain JSON."""
        return {"names": self.names, "labels": self.labels}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(tuple(content["names"]), tuple(tuple(labels) for labels in content["labels"]))


@dataclass(frozen=True)
class Levels:
    """Mean demand a period of all items and of each static group: where an item without history starts from.

    An item's level is its own trailing mean, shrunk to its group's; a group's level is shrunk to its parent's, the
    attributes being ordered from the top down (the partial pooling of Gelman and Hill, Data Analysis Using
    Regression and Multilevel Models, ch. 12).
    """

    codes: StaticCodes
    overall: float
    """Mean level of all items with history, in units a period."""
    sums: tuple[NDArray[np.float64], ...]
    """Of each attribute: sum of the items' levels by code."""
    counts: tuple[NDArray[np.float64], ...]
    """Of each attribute: number of items by code."""

    @classmethod
    def of(cls, panel: Panel, window: int, codes: StaticCodes | None = None) -> Self:
        """Return the levels over the panel's trailing periods, by the panel's own labels or by given codes."""
        codes = codes or StaticCodes.of(panel)
        tail = panel.observed[:, -window:]
        seen = tail.sum(axis=1)
        own = panel.y[:, -window:].sum(axis=1, where=tail, dtype=np.float64) / np.maximum(seen, 1)
        known = seen > 0
        coded = codes.encode(panel)[known]
        columns = list(zip(coded.T, codes.sizes, strict=True))
        return cls(
            codes,
            float(own[known].mean()) if known.any() else 0.0,
            tuple(np.bincount(code, own[known], size).astype(np.float64) for code, size in columns),
            tuple(np.bincount(code, minlength=size).astype(np.float64) for code, size in columns),
        )

    def prior(self, panel: Panel) -> NDArray[np.float64]:
        """Return the level that each series' groups suggest, whatever its own history `[S]`."""
        level = np.full(panel.y.shape[0], self.overall)
        for code, sums, counts in zip(self.codes.encode(panel).T, self.sums, self.counts, strict=True):
            known = code > 0
            total = np.where(known, sums[code], 0.0)
            items = np.where(known, counts[code], 0.0)
            level = (total + _PRIOR_ITEMS * level) / (items + _PRIOR_ITEMS)
        return np.maximum(level, _LEAST_LEVEL)

    @staticmethod
    def shrunk(
        units: NDArray[np.floating], periods: NDArray[np.number], prior: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the level of items that sold so many units on so many observed periods, shrunk to their prior."""
        level = (units + _PRIOR_PERIODS * prior) / (periods + _PRIOR_PERIODS)
        return np.maximum(level, _LEAST_LEVEL).astype(np.float64)

    def at_end(self, panel: Panel, window: int) -> NDArray[np.float64]:
        """Return each series' level over the panel's trailing window of periods `[S]`."""
        tail = panel.observed[:, -window:]
        units = panel.y[:, -window:].sum(axis=1, where=tail, dtype=np.float64)
        return self.shrunk(units, tail.sum(axis=1), self.prior(panel))

    def as_json(self) -> dict[str, Any]:
        """Return the levels as plain JSON."""
        return {
            "codes": self.codes.as_json(),
            "overall": self.overall,
            "sums": [sums.tolist() for sums in self.sums],
            "counts": [counts.tolist() for counts in self.counts],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(
            StaticCodes.from_json(content["codes"]),
            content["overall"],
            tuple(np.asarray(sums) for sums in content["sums"]),
            tuple(np.asarray(counts) for counts in content["counts"]),
        )


def trailing_sums(values: NDArray[np.number | np.bool_]) -> NDArray[np.float64]:
    """Return running totals along axis 1 with a leading zero: periods `a <= t < b` sum to `total[:, b] - total[:, a]`.

    Args:
        values: `[S, T, ...]`

    Returns:
        `[S, T + 1, ...]`
    """
    total = np.zeros((values.shape[0], values.shape[1] + 1, *values.shape[2:]))
    np.cumsum(values, axis=1, dtype=np.float64, out=total[:, 1:])
    return total


def masked_quantiles(
    values: NDArray[np.floating], mask: NDArray[np.bool_], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Return linearly interpolated quantiles along the last axis where the mask is true.

    Args:
        values: `[..., N]`
        mask: which of them count `[..., N]`
        levels: Q quantile levels.

    Returns:
        `[..., Q]`; 0 where nothing counts.
    """
    if not values.shape[-1]:
        return np.zeros((*values.shape[:-1], len(levels)))
    ordered = np.sort(np.where(mask, values, np.inf), axis=-1)
    last = np.maximum(mask.sum(axis=-1, keepdims=True) - 1, 0)
    place = last * np.asarray(levels)
    low = np.floor(place).astype(np.intp)
    below = np.take_along_axis(ordered, low, axis=-1)
    above = np.take_along_axis(ordered, np.minimum(low + 1, last), axis=-1)
    found = mask.any(axis=-1, keepdims=True)
    below, above = np.where(found, below, 0.0), np.where(found, above, 0.0)
    return below + (above - below) * (place - low)


def positions(known: NDArray[np.str_], wanted: NDArray[np.str_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where each wanted id stands among the known ones, and whether it stands there at all, both `[S]`."""
    if not len(known):
        msg = "a forecaster cannot be fitted on a panel without series"
        raise ValueError(msg)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    row = order[place]
    return row, known[row] == wanted


def _recode(panel: Panel, attribute: int, labels: Sequence[str]) -> NDArray[np.int32]:
    """Return one attribute's codes `[S]` in the order of the given labels, from 1; 0 where the label is not there."""
    position = {label: code for code, label in enumerate(labels, start=1)}
    table = np.array([*(position.get(label, 0) for label in panel.static_levels[attribute]), 0], np.int32)
    codes = panel.static[:, attribute]
    unknown = len(table) - 1
    return table[np.where((codes >= 0) & (codes < unknown), codes, unknown)]
