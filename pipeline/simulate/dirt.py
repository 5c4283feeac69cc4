"""Broken rows, put beside the good ones on request: which are broken depends on the day alone, not on who asks when."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.feeds import Feed, FeedName
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["CLEAN", "DIRT", "Dirt", "broken_rows", "drawn_dirt"]

Dirt = Literal[
    "duplicate", "missing_item", "unknown_item", "future_date", "absurd", "negative", "not_a_number", "infinite",
    "missing_value", "unknown_event",
]  # fmt: skip

ABSURD = 4e13
YEARS_AHEAD = 3
_VALUES = {"absurd": ABSURD, "not_a_number": float("nan"), "infinite": float("inf"), "missing_value": None}
"""What stands in place of a number."""
_WRONG_NUMBERS: tuple[Dirt, ...] = ("absurd", "negative", "not_a_number", "infinite", "missing_value")
DIRT: Mapping[FeedName, tuple[Dirt, ...]] = {
    "sales": ("duplicate", "missing_item", "unknown_item", "future_date", *_WRONG_NUMBERS),
    "behaviour": ("duplicate", "missing_item", "unknown_item", "future_date", "unknown_event"),
    # A stock that is not told breaks nothing.
    "stock": ("duplicate", "missing_item", "unknown_item", "future_date", *_WRONG_NUMBERS[:-1]),
    "prices": ("duplicate", "missing_item", "unknown_item", "future_date", *_WRONG_NUMBERS),
}
"""What can be wrong with a row of each feed; the feeds that are not named are always clean."""

CLEAN = -1
_SPOILT: Mapping[FeedName, tuple[str, str]] = {
    # (column that is negative, column that has the other values); the gate has rules for these.
    "sales": ("revenue", "units"),
    "stock": ("on_hand", "on_hand"),
    "prices": ("price", "price"),
}


def drawn_dirt(settings: SimulatorSettings, feed: FeedName, day: int, count: int) -> NDArray[np.int64]:
    """Return what is wrong with a copy of each of a day's rows, as a position in `DIRT`, or `CLEAN` for none `[n]`."""
    if feed not in DIRT:
        return np.full(count, CLEAN)
    draw = generator(settings.seed, Stream.DIRT, list(DIRT).index(feed), day)
    kind = draw.integers(0, len(DIRT[feed]), count)
    return np.where(draw.random(count) < settings.dirty_share, kind, CLEAN)


def broken_rows(feed: Feed, rows: pa.Table, kinds: NDArray[np.int64]) -> pa.Table:
    """Return a broken copy of each row that something is to be wrong with."""
    chosen = np.flatnonzero(kinds != CLEAN)
    if not len(chosen):
        return rows.slice(0, 0)
    copies = rows.take(pa.array(chosen)).to_pylist()
    for number, (row, kind) in enumerate(zip(copies, kinds[chosen], strict=True)):
        _spoil(row, feed, DIRT[feed.name][kind], number)
    return pa.Table.from_pylist(copies, schema=rows.schema)


def _spoil(row: dict[str, Any], feed: Feed, dirt: Dirt, number: int) -> None:
    if dirt == "duplicate":
        return
    for column in feed.line_key[:1]:
        if column in row:
            # A broken row of its own, not a second version of the good one.
            row[column] = f"{row[column]}-{number}"
    if dirt == "future_date":
        _move(row, timedelta(days=365 * YEARS_AHEAD + number % 365))
    else:
        row.update(_spoilt_values(row, feed, dirt))


def _spoilt_values(row: dict[str, Any], feed: Feed, dirt: Dirt) -> dict[str, Any]:
    negative, value = _SPOILT.get(feed.name, ("", ""))
    match dirt:
        case "missing_item":
            return {"item": None}
        case "unknown_item":
            return {"item": f"NO-SUCH-{row['item']}"}
        case "unknown_event":
            return {"event": "?"} if "event" in row else {"views": -1}
        case "negative":
            return {negative: -abs(row[negative] or 0) - 1}
        case _:
            return {value: _VALUES[dirt]}


def _move(row: dict[str, Any], ahead: timedelta) -> None:
    day: date = row["date"]
    row["date"] = day + ahead
    if "timestamp" in row:
        row["timestamp"] += ahead
