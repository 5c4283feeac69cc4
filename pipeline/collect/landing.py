"""The landing zone: batches as they came, a folder a feed and cycle, put down whole or not at all.

A batch lies in part files, each sorted by the feed's day and cut into small row groups, so that a window of days can
be read without the rest. Its manifest counts the rows of each day.
"""

import errno
import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS, FeedName, Grain

__all__ = ["Landed", "batches_before", "has_landed", "land", "landed", "remove_batch", "scratch"]

PART_ROWS = 1_000_000
"""Rows a part file: what a collection holds in memory at once, twice."""
ROW_GROUP_ROWS = 65_536
"""Rows a row group: a window of days reads at most so many rows of a part in vain at either end."""

_MANIFEST = "manifest.json"
_LOCK = "lock"
_BATCH = re.compile(r"\.*(?P<day>\d{4}-\d{2}-\d{2})(\.[0-9a-f]+)?")
"""A batch's folder, or with dots before and a random part behind it one that was never finished."""
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}


_FIRST_DAY = (date.min - date(1970, 1, 1)).days
_LAST_DAY = (date.max - date(1970, 1, 1)).days
"""The days that Python, and with it Delta's statistics, can name, counted from 1970-01-01."""


@dataclass(frozen=True)
class Landed:
    """A batch in the landing zone."""

    folder: Path
    grain: Grain
    rows: int
    since: date
    until: date
    initial: bool
    parts: tuple[str, ...]
    """Names of the part files, in the order in which their rows came."""
    days: Mapping[date, int]
    """Rows of each day that landed any."""
    undated: int
    """Rows whose day is missing or cannot be read; all rows of a feed that is about no day."""

    @property
    def files(self) -> list[str]:
        """Paths of the part files."""
        return [str(self.folder / part) for part in self.parts]

    def read(self) -> pa.Table:
        """Return the landed rows in the order in which they came, but sorted by day within each part."""
        return pa.concat_tables([pq.read_table(file) for file in self.files])


class _Landing:
    """An open batch: rows are appended until it is put down; they are written while the next ones are fetched."""

    def __init__(self, folder: Path, schema: pa.Schema, day: str | None) -> None:
        self.rows = 0
        self.dated = 0
        """Rows among them that have a day."""
        self.parts: list[str] = []
        self.days: Counter[date | None] = Counter()
        self._folder = folder
        self._schema = schema
        self._day = day
        self._batch = uuid4().hex[:12]
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="landing")
        self._writing: Future[None] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        for start in range(0, batch.num_rows, PART_ROWS):
            piece = _with_possible_days(batch.slice(start, PART_ROWS).cast(self._schema))
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            self.rows += piece.num_rows
            self.dated += 0 if self._day is None else piece.num_rows - piece.column(self._day).null_count
            if self._waiting_rows >= PART_ROWS:
                self._put_down()

    def close(self) -> None:
        """Write what is left and wait until everything is on disk."""
        if self._waiting or not self.parts:
            self._put_down()
        self._written()
        self._writer.shutdown()

    def abandon(self) -> None:
        """Write nothing more."""
        self._writer.shutdown(cancel_futures=True)

    def _put_down(self) -> None:
        rows = pa.Table.from_batches(self._waiting, self._schema)
        self._waiting, self._waiting_rows = [], 0
        self._written()
        # The batch's own id stands in the name: a reader can never mix parts of two batches.
        self.parts.append(f"part-{self._batch}-{len(self.parts):05}.parquet")
        self._writing = self._writer.submit(self._write, rows, self._folder / self.parts[-1])

    def _written(self) -> None:
        """Wait for the part that is being written, and raise what has stopped it."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, rows: pa.Table, file: Path) -> None:
        if self._day is None:
            self.days[None] += rows.num_rows
        else:
            self.days.update(_rows_a_day(rows[self._day]))
            rows = _sorted_by_day(rows, self._day)
        pq.write_table(rows, file, compression="zstd", row_group_size=ROW_GROUP_ROWS)


@contextmanager
def land(cycle: Cycle, feed: FeedName, *, grain: Grain, since: date, until: date, initial: bool) -> Iterator[_Landing]:
    """Open a batch of a feed for writing; it appears in the landing zone when the block ends without an error.

    Raises:
        StageError: if the landing zone cannot be written, such as when the disk is full.
    """
    target = cycle.landing_dir(feed)
    with scratch(cycle, feed) as folder:
        landing = _Landing(folder, _nullable(FEEDS[feed].landed_schema(grain)), FEEDS[feed].day)
        try:
            yield landing
            landing.close()
            days = {str(day): rows for day, rows in sorted(_dated(landing.days).items())}
            manifest = {
                "grain": grain,
                "rows": landing.rows,
                "since": str(since),
                "until": str(until),
                "initial": initial,
                "parts": landing.parts,
                "days": days,
                "undated": landing.days[None],
            }
            (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            _put_in_place(folder, target)
        except BaseException:
            landing.abandon()
            raise


@contextmanager
def scratch(cycle: Cycle, feed: FeedName) -> Iterator[Path]:
    """Open a folder inside the landing zone, beside the batch, which is gone when the block ends.

    Work on landed rows may leave personal ids on disk: they do so here only. What an attempt has left that was killed
    is removed on the way; folders of attempts that still run are held by a lock and stay.

    Raises:
        StageError: if the folder cannot be written, such as when the disk is full.
    """
    target = cycle.landing_dir(feed)
    try:
        folder, held = _held_folder(target)
        _remove_leftovers(target)
        try:
            yield folder
        finally:
            os.close(held)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        if exc.errno not in _UNWRITABLE:
            raise
        msg = (
            f"The batch '{feed}' of {cycle.key} cannot be written to {target.parent} ({os.strerror(exc.errno)}); make "
            f"room or give access there, and run the cycle again."
        )
        raise StageError(msg) from exc


def has_landed(cycle: Cycle, feed: FeedName) -> bool:
    """Return whether this cycle has landed a batch of a feed."""
    return (cycle.landing_dir(feed) / _MANIFEST).exists()


def batches_before(landing: Path, oldest: date) -> Iterator[Path]:
    """Yield the folders of all feeds' batches of as-of days before a day, and what killed attempts have left of them.

    Args:
        landing: a market's folder of the landing zone.
        oldest: first as-of day whose batches are passed over.
    """
    for folder in sorted(landing.glob("*/*")):
        named = _BATCH.fullmatch(folder.name)
        if named and folder.is_dir() and date.fromisoformat(named["day"]) < oldest:
            yield folder


def remove_batch(folder: Path) -> None:
    """Remove a batch.

    Raises:
        FileNotFoundError: if somebody else was faster.
    """
    named = _BATCH.fullmatch(folder.name)
    # Out of sight first: whoever is killed half-way through leaves no batch that looks whole.
    doomed = folder.rename(_aside(folder.with_name(named["day"] if named else folder.name)))
    shutil.rmtree(doomed, ignore_errors=True)


def landed(cycle: Cycle, feed: FeedName) -> Landed:
    """Return the batch that this cycle has landed of a feed.

    Raises:
        StageError: if there is none.
    """
    folder = cycle.landing_dir(feed)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        msg = f"Nothing of the feed '{feed}' has landed for {cycle.key}; run 'trendmill collect' for it first."
        raise StageError(msg) from exc
    return Landed(
        folder,
        manifest["grain"],
        manifest["rows"],
        date.fromisoformat(manifest["since"]),
        date.fromisoformat(manifest["until"]),
        manifest["initial"],
        tuple(manifest["parts"]),
        {date.fromisoformat(day): rows for day, rows in manifest["days"].items()},
        manifest["undated"],
    )


def _nullable(schema: pa.Schema) -> pa.Schema:
    """A landed row may lack anything: saying so is the gate's work."""
    return pa.schema([column.with_nullable(nullable=True) for column in schema])


def _with_possible_days(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with days that no calendar has, such as 99999-12-31 for "never", as missing ones."""
    for number, column in enumerate(rows.schema):
        if pa.types.is_date32(column.type):
            days = rows.column(number).cast(pa.int32())
            possible = pc.and_(pc.greater_equal(days, _FIRST_DAY), pc.less_equal(days, _LAST_DAY))
            if pc.any(pc.invert(possible)).as_py():
                rows = rows.set_column(number, column, pc.if_else(possible, rows.column(number), None))
    return rows


def _rows_a_day(days: pa.ChunkedArray) -> dict[date | None, int]:
    counted = pc.value_counts(days)
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _dated(days: Mapping[date | None, int]) -> dict[date, int]:
    return {day: rows for day, rows in days.items() if day is not None}


def _sorted_by_day(rows: pa.Table, day: str) -> pa.Table:
    """Return the rows by day, in the order in which they came within a day; rows without a day stand last."""
    days = rows[day].combine_chunks().cast(pa.int32())
    if days.null_count == 0 and (len(days) < 2 or pc.all(pc.less_equal(days[:-1], days[1:])).as_py()):  # noqa: PLR2004
        return rows
    return rows.take(pc.sort_indices(days))


def _held_folder(target: Path) -> tuple[Path, int]:
    """Return a new folder beside the target and its lock; it is locked before it has a name that others clear away."""
    folder = _aside(target)
    unlocked = target.with_name(f"..{folder.name}")
    unlocked.mkdir(parents=True)
    held = _locked(unlocked)
    return unlocked.rename(folder), held


def _aside(target: Path) -> Path:
    """Return a name beside a batch that nobody takes for one."""
    return target.with_name(f".{target.name}.{uuid4().hex}")


def _locked(folder: Path) -> int:
    """Return the open lock of a folder; the kernel lets go of it when its process ends, however it ends."""
    held = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def _remove_leftovers(target: Path) -> None:
    """Remove what attempts that were killed have left beside the target."""
    for folder in target.parent.glob(f".{target.name}.*"):
        with suppress(BlockingIOError, FileNotFoundError):
            os.close(_locked(folder))
            shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Let the folder stand where the target stands; of several at once, the last one stays."""
    while True:
        replaced = _aside(target)
        with suppress(FileNotFoundError):
            target.rename(replaced)
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():
                raise
        else:
            # Only now: a folder without a lock, under a name of its own, would be cleared away as a leftover.
            (target / _LOCK).unlink(missing_ok=True)
            return
        finally:
            shutil.rmtree(replaced, ignore_errors=True)
