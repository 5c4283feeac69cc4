"""Order lines of a day: sold units shared out to lines, orders and customers, with what the source gets wrong at first.

Whatever day is asked for, its lines come from that day's own draws and the world's counts. Lines are kept as numbers;
`pipeline.simulate.answers` gives them their names.
"""

from collections import OrderedDict
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.demand import price_cents
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.people import People, make_people
from pipeline.simulate.world import World

__all__ = ["Lines", "Orders"]

Ints = NDArray[np.int64]

NEVER = 0
RETURN_DAYS = 21
"""Longest time from a line's arrival to its return."""
RETURN_HASTE = 0.15
"""Share of the returns still to come that come each day, from the second day after arrival on."""


@dataclass(frozen=True)
class Lines:
    """Order lines `[n]` of one day, as they are in the end and as they were first."""

    day: Ints
    """Day of the order that the line belongs to; of a return an earlier one."""
    order: Ints
    """Number of the order within its day."""
    line: Ints
    """Number of the line within its order."""
    cell: Ints
    units: Ints
    cents: Ints
    """Revenue."""
    customer: Ints
    arrives: Ints
    """Days after its own until the source shows it."""
    corrected: Ints
    """Days after its own on which the source mends it; `NEVER` if it was right from the start."""
    first_units: Ints
    first_cents: Ints
    deleted: Ints
    """Days after its own on which the source drops it; `NEVER` for true lines."""
    returned: Ints
    """Days after its own on which it is sent back; `NEVER` if it is kept."""

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.day)

    def take(self, chosen: NDArray[np.bool_] | Ints) -> "Lines":
        """Return some of the lines."""
        return Lines(*(getattr(self, name)[chosen] for name in _NAMES))

    def seen(self, age: int) -> "Lines":
        """Return the lines as the source shows them so many days after their day."""
        shown = self.take((self.arrives <= age) & ((self.deleted == NEVER) | (self.deleted > age)))
        wrong = (shown.corrected != NEVER) & (shown.corrected > age)
        return replace(
            shown,
            units=np.where(wrong, shown.first_units, shown.units),
            cents=np.where(wrong, shown.first_cents, shown.cents),
        )

    @property
    def is_steady(self) -> NDArray[np.bool_]:
        """Which lines stand from the first day on as they will in the end."""
        return (self.arrives == 0) & (self.corrected == NEVER) & (self.deleted == NEVER)


_NAMES = tuple(field.name for field in fields(Lines))
_NO_COLUMNS = np.zeros((len(_NAMES), 0), np.int64)


def _columns(lines: Lines) -> Ints:
    """Return lines as one array, a row a column, which is quick to cut and to join."""
    return np.stack([getattr(lines, name) for name in _NAMES])


def _from_columns(columns: Ints) -> Lines:
    return Lines(*columns)


def _joined(*parts: Lines) -> Lines:
    return _from_columns(np.concatenate([_columns(part) for part in parts], axis=1))


class Orders:
    """The orders of a world, day by day."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people: People = make_people(world.scene.settings)
        self._sent_back: OrderedDict[int, tuple[Ints, Ints]] = OrderedDict()
        self._cents: OrderedDict[int, Ints] = OrderedDict()

    @property
    def longest_return_days(self) -> int:
        """After so many days no line is sent back any more."""
        return self.world.scene.settings.late_days + RETURN_DAYS

    def of(self, day: int) -> Lines:
        """Return all lines about a day: those of its orders, spurious ones, and returns of earlier days' lines."""
        return _joined(self._ordered(day), self._returns(day))

    def _ordered(self, day: int) -> Lines:
        """Return the lines of the day's own orders, true ones first."""
        draw = generator(self.world.scene.settings.seed, Stream.ORDERS, day)
        true = self._true(day, draw)
        lines = _joined(true, self._spurious(true, draw))
        self._keep_sent_back(day, lines)
        return lines

    def _true(self, day: int, draw: np.random.Generator) -> Lines:
        settings = self.world.scene.settings
        cell, units = _split(self.world.sold[day], settings.units_per_line, draw)
        location = cell // settings.items
        # Lines of one location in a random order; then neighbours share an order.
        shuffled = draw.permutation(len(cell))
        shuffled = shuffled[np.argsort(location[shuffled], kind="stable")]
        cell, units, location = cell[shuffled], units[shuffled], location[shuffled]
        begins = draw.random(len(cell)) < 1 / settings.lines_per_order
        begins |= np.diff(location, prepend=-1) != 0
        order = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        customer = self.people.draw(draw, location[first])[order] if len(first) else order
        cents = units * self._price(day)[cell]
        arrives = _some(draw, settings.late_share, settings.late_days, len(cell))
        corrected = _some(draw, settings.correction_share, settings.correction_days, len(cell))
        first_units, first_cents = _first_version(draw, units, cents, corrected)
        share = self.world.scene.items.of("returns")[cell % settings.items] * settings.return_share
        later = np.minimum(1 + draw.geometric(RETURN_HASTE, len(cell)), RETURN_DAYS)
        return Lines(
            day=np.full(len(cell), day),
            order=order + 1,
            line=np.arange(len(cell)) - first[order] + 1 if len(first) else order,
            cell=cell,
            units=units,
            cents=cents,
            customer=customer,
            arrives=arrives,
            corrected=np.where(corrected == NEVER, NEVER, arrives + corrected),
            first_units=first_units,
            first_cents=first_cents,
            deleted=np.full(len(cell), NEVER),
            returned=np.where(draw.random(len(cell)) < share, arrives + later, NEVER),
        )

    def _spurious(self, true: Lines, draw: np.random.Generator) -> Lines:
        """Return lines that were never real, such as cancelled or doubly booked orders, each an order of its own."""
        settings = self.world.scene.settings
        count = int(draw.binomial(len(true), settings.deleted_share))
        like = true.take(draw.integers(0, max(len(true), 1), count))
        never = np.full(count, NEVER)
        last = int(true.order.max(initial=0))
        return replace(
            like,
            order=last + 1 + np.arange(count),
            line=np.ones(count, np.int64),
            arrives=never,
            corrected=never,
            first_units=like.units,
            first_cents=like.cents,
            deleted=draw.integers(1, settings.correction_days + 1, count),
            returned=never,
        )

    def _returns(self, day: int) -> Lines:
        """Return the lines that are sent back on a day, with negative units, under their old order numbers."""
        ages = range(min(self.longest_return_days, day), 0, -1)
        back = _from_columns(np.concatenate([_NO_COLUMNS, *(self._due(day - age, age) for age in ages)], axis=1))
        never = np.full(len(back), NEVER)
        return replace(
            back,
            units=-back.units,
            cents=-back.cents,
            arrives=never,
            corrected=never,
            first_units=-back.units,
            first_cents=-back.cents,
            deleted=never,
        )

    def _due(self, day: int, age: int) -> Ints:
        """Return the columns of a day's lines that are sent back at an age in days."""
        if day not in self._sent_back:
            self._ordered(day)
        by_age, ends = self._sent_back[day]
        return by_age[:, ends[age - 1] : ends[age]]

    def _keep_sent_back(self, day: int, lines: Lines) -> None:
        back = lines.take(lines.returned != NEVER)
        back = back.take(np.argsort(back.returned, kind="stable"))
        ends = np.searchsorted(back.returned, np.arange(self.longest_return_days + 1), side="right")
        self._sent_back[day] = _columns(back), ends
        while len(self._sent_back) > 2 * self.longest_return_days:
            self._sent_back.popitem(last=False)

    def _price(self, day: int) -> Ints:
        """Return each cell's price on a day; a few weeks' prices are worked out at once and kept."""
        scene = self.world.scene
        first, count = next(block for block in scene.blocks() if block[0] <= day < sum(block))
        if first not in self._cents:
            self._cents[first] = price_cents(scene, first, count).reshape(count, -1)
            while len(self._cents) > 3:  # noqa: PLR2004 - a day and those whose lines it takes back
                self._cents.popitem(last=False)
        return self._cents[first][day - first]


def _split(sold: NDArray[np.int32], units_per_line: float, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Return cell and units of lines that share out what was sold, by geometric sizes."""
    cell = np.repeat(np.arange(len(sold)), sold)
    begins = draw.random(len(cell)) < 1 / units_per_line
    begins |= np.diff(cell, prepend=-1) != 0
    first = np.flatnonzero(begins)
    return cell[first], np.diff(first, append=len(cell))


def _some(draw: np.random.Generator, share: float, longest: int, count: int) -> Ints:
    """Return days from 1 to the longest for a share of the lines, sooner ones more often, and 0 for the others."""
    days = np.minimum(draw.geometric(min(2.0 / longest, 1), count), longest)
    return np.where(draw.random(count) < share, days, 0)


def _first_version(draw: np.random.Generator, units: Ints, cents: Ints, corrected: Ints) -> tuple[Ints, Ints]:
    """Return the units and revenue that stand first where a line is corrected later: one of the two is wrong."""
    in_units = draw.random(len(units)) < 0.5  # noqa: PLR2004 - even chances
    more = draw.integers(1, 4, len(units))
    wrong = corrected != NEVER
    first_units = np.where(wrong & in_units, units + more, units)
    return first_units, np.where(wrong & ~in_units, cents * (100 + 7 * more) // 100 + 1, cents)
