"""What holds for a range of days, locations and items at once, such as a promotion: boxes, and how they fill arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Boxes", "filled_with_largest", "filled_with_sums"]


@dataclass(frozen=True)
class Boxes:
    """Ranges of days x locations x items `[B]`, each from its first to before its last."""

    day: NDArray[np.int64]
    """First day and the day after the last `[B, 2]`, as are the ranges below."""
    location: NDArray[np.int64]
    item: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(self.day[chosen], self.location[chosen], self.item[chosen])

    def touching(self, first: int, last: int) -> NDArray[np.int64]:
        """Return which boxes reach into the days from first to before last."""
        return np.flatnonzero((self.day[:, 0] < last) & (self.day[:, 1] > first))

    def cells(self, first: int, shape: tuple[int, int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the boxes' cells in an array of `[days, locations, items]` that begins on day first.

        Returns:
            The box of each cell `[C]`, and the cell's flat position in the array `[C]`.
        """
        days = np.clip(self.day - first, 0, shape[0])
        size_day, size_place, size_item = (np.diff(edges)[:, 0] for edges in (days, self.location, self.item))
        count = size_day * size_place * size_item
        box = np.repeat(np.arange(len(count)), count)
        offset = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
        rest, item = np.divmod(offset, size_item[box])
        day, place = np.divmod(rest, size_place[box])
        at = (days[box, 0] + day, self.location[box, 0] + place, self.item[box, 0] + item)
        return box, np.ravel_multi_index(at, shape) if len(box) else np.zeros(0, np.int64)


def filled_with_sums(
    boxes: Boxes, value: NDArray[np.float64], first: int, shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return the sum of the values of all boxes that cover each cell."""
    touching = boxes.touching(first, first + shape[0])
    box, cell = boxes.take(touching).cells(first, shape)
    sums = np.bincount(cell, value[touching][box], minlength=int(np.prod(shape)))
    return sums.astype(np.float64).reshape(shape)


def filled_with_largest(
    boxes: Boxes, value: NDArray[np.float64], first: int, shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return the largest value of the boxes that cover each cell; 0 where none does."""
    touching = boxes.touching(first, first + shape[0])
    box, cell = boxes.take(touching).cells(first, shape)
    filled = np.zeros(int(np.prod(shape)))
    np.maximum.at(filled, cell, value[touching][box])
    return filled.reshape(shape)
