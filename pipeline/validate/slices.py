"""Slices of a landed batch: consecutive days that are judged at once, so that memory does not grow with the batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from pipeline.bounded import quoted
from pipeline.collect import Landed
from pipeline.errors import FencedError
from pipeline.feeds import Feed

__all__ = ["MEMORY_LIMIT", "SLICE_ROWS", "Slice", "load", "slices_of"]

SLICE_ROWS = 1_000_000
"""A slice has at most so many rows, but for a single day, or a feed that is about no day."""

MEMORY_LIMIT = "600MB"
"""What DuckDB may hold of a slice before it puts rows aside on disk."""


@dataclass(frozen=True)
class Slice:
    """The rows of some consecutive days, or those without a readable day."""

    since: date | None
    until: date | None
    """Both None: the rows without a day."""

    @property
    def undated(self) -> bool:
        """Whether these are the rows without a day."""
        return self.since is None

    def held_window(self, batch: Landed) -> tuple[date, date] | None:
        """Return the days of the slice that the batch was asked for; None where there is none."""
        if self.since is None or self.until is None:
            return None
        window = max(self.since, batch.since), min(self.until, batch.until)
        return window if window[0] <= window[1] else None


def slices_of(feed: Feed, batch: Landed, slice_rows: int) -> Iterator[Slice]:
    """Yield the slices of a batch: together they hold each landed row once, and each day of its window.

    Rows without a day come first: what they leave in doubt must be known when the others are compared with the lake.

    Args:
        feed: the batch's feed; one that is about no day is a single slice.
        batch: a landed batch.
        slice_rows: a slice takes in further days as long as it has no more rows than this.
    """
    if feed.day is None or batch.undated:
        yield Slice(None, None)
    if feed.day is None:
        return
    first, last = min([*batch.days, batch.since]), max([*batch.days, batch.until])
    since, rows = first, 0
    for day, landed in sorted(batch.days.items()):
        if rows and rows + landed > slice_rows:
            yield Slice(since, day - timedelta(days=1))
            since, rows = day, 0
        rows += landed
    yield Slice(since, last)


def load(connection: duckdb.DuckDBPyConnection, batch: Landed, feed: Feed, part: Slice) -> None:
    """Read a slice into the table `slice`, in the order in which its rows came.

    Raises:
        FencedError: if another attempt has landed the batch again meanwhile.
    """
    where, days = "", {}
    if part.since is not None:
        where, days = f'WHERE "{feed.day}" BETWEEN $since AND $until', {"since": part.since, "until": part.until}
    elif feed.day is not None:
        where = f'WHERE "{feed.day}" IS NULL'
    columns = quoted(feed.landed_schema(batch.grain).names)
    sql = f"SELECT {columns} FROM read_parquet($files) {where}"  # noqa: S608 - names come from the feeds' contracts
    parameters: dict[str, Any] = {"files": batch.files} | days
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE slice AS {sql}", parameters)
    except duckdb.IOException as exc:
        if all(Path(file).exists() for file in batch.files):
            raise
        msg = f"Another attempt has landed '{feed.name}' again since this one began; this one is stale."
        raise FencedError(msg) from exc
