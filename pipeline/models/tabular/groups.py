"""Groups of series: those that share an item, a location, a category."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess.panel import Panel

__all__ = ["Groups"]

_MOST_GROUPINGS = 4
"""Attributes that group series at most: the last ones, which are the finest."""
_OWN = ("item", "location")
"""Attributes within whose groups covariates are compared."""


@dataclass(frozen=True)
class Groups:
    """Each attribute's group of each series, of those attributes that tell series apart without naming each one."""

    size: int
    """S: how many series there are."""
    names: tuple[str, ...]
    codes: tuple[NDArray[np.intp], ...]
    """Of each attribute: group of each series, from 0 `[S]`."""

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Return the groups of a panel's series."""
        size = len(panel.unique_id)
        found = {}
        for name, codes in zip(panel.static_names, panel.static.T, strict=True):
            labels, code = np.unique(codes, return_inverse=True)
            if 1 < len(labels) <= max(size // 2, 1):
                found[name] = code.astype(np.intp)
        kept = list(found)[-_MOST_GROUPINGS:]
        return cls(size, tuple(kept), tuple(found[name] for name in kept))

    @property
    def own(self) -> tuple[int, ...]:
        """Positions of the attributes within whose groups covariates are compared: item and location."""
        return tuple(number for number, name in enumerate(self.names) if name in _OWN)

    @property
    def finest(self) -> NDArray[np.intp]:
        """Group of each series by item, or else by the last attribute; all in one where there is none `[S]`."""
        if "item" in self.names:
            return self.codes[self.names.index("item")]
        return self.codes[-1] if self.codes else np.zeros(self.size, np.intp)

    def sums(self, values: NDArray[np.floating], number: int) -> NDArray[np.float64]:
        """Return the sums over each group of an attribute `[S, T]` -> `[groups, T]`."""
        code = self.codes[number]
        total = np.zeros((int(code.max()) + 1, *values.shape[1:]))
        np.add.at(total, code, values)
        return total

    def others(self, values: NDArray[np.floating], number: int) -> NDArray[np.float64]:
        """Return the mean of the other series of each series' group, 0 where it is alone `[S, T, ...]`."""
        code = self.codes[number]
        count = np.bincount(code)[code] - 1
        shape = (-1, *(1,) * (values.ndim - 1))
        return np.asarray((self.sums(values, number)[code] - values) / np.maximum(count, 1).reshape(shape))
