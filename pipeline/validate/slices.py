"""Slices of a landed batch: consecutive days that are judged at once, so that memory does not grow with the batch."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from pipeline.collect import Landed
from pipeline.errors import FencedError
from pipeline.feeds import Feed

__all__ = ["SLICE_ROWS", "Slice", "bench", "listed", "load", "quoted", "slices_of"]

SLICE_ROWS = 1_000_000
"""A slice has at most so many rows, but for a single day or rows without one."""

MEMORY_LIMIT = "600MB"
"""What DuckDB may hold of a slice before it puts rows aside on disk."""

_DISK_FULL = ("No space left", "File too large", "quota exceeded")


@dataclass(frozen=True)
class Slice:
    """The rows of some consecutive days, or those without a readable day."""

    since: date | None
    until: date | None
    """Both None: the rows without a day."""

    def held_window(self, batch: Landed) -> tuple[date, date] | None:
        """Return the days of the slice that the batch was asked for; None where there is none."""
        if self.since is None or self.until is None:
            return None
        window = max(self.since, batch.since), min(self.until, batch.until)
        return window if window[0] <= window[1] else None


def slices_of(batch: Landed, slice_rows: int) -> Iterator[Slice]:
    """Yield the slices of a batch: together they hold each landed row once, and each day of its window.

    Args:
        batch: a landed batch with rows.
        slice_rows: a slice takes in further days as long as it has no more rows than this.
    """
    if batch.days:
        first, last = min(*batch.days, batch.since), max(*batch.days, batch.until)
        since, rows = first, 0
        for day, landed in sorted(batch.days.items()):
            if rows and rows + landed > slice_rows:
                yield Slice(since, day - timedelta(days=1))
                since, rows = day, 0
            rows += landed
        yield Slice(since, last)
    if batch.undated:
        yield Slice(None, None)


@contextmanager
def bench(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory for the work on slices; what does not fit is put aside in the folder."""
    settings = {"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spill")}
    try:
        with duckdb.connect(config=settings) as connection:
            yield connection
    except duckdb.Error as exc:
        if any(sign in str(exc) for sign in _DISK_FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from exc
        raise


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


def quoted(names: tuple[str, ...] | list[str]) -> str:
    """Return columns' names for SQL."""
    return ", ".join(f'"{name}"' for name in names)


def listed(texts: Iterable[str]) -> str:
    """Return texts as SQL's literals; NULL, which equals none, where there are none."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts) or "NULL"
