"""Writing a world down: what its sources tell of some days, and, if asked for, what is truly so, as Parquet files."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.feeds import FEEDS, FeedName, Grain
from pipeline.simulate.answers import Shop
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.truth import truth

__all__ = ["Exported", "Period", "export"]

Period = Literal["day", "month"]
_STAMP = {"day": "%Y-%m-%d", "month": "%Y-%m"}
_LARGE: frozenset[FeedName] = frozenset({"sales", "behaviour", "stock", "prices"})
"""Feeds that are written in a file a period; the others are one file each."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: int
    rows: dict[str, int]
    """Rows by feed, and by table of the truth."""


def export(
    settings: SimulatorSettings,
    feeds: dict[FeedName, Grain],
    out: Path,
    *,
    since: date,
    until: date,
    period: Period = "month",
    with_truth: bool = False,
    progress: Callable[[str, date], None] | None = None,
) -> Exported:
    """Write the feeds of some days, as known on the evening of the last one, into a new folder.

    Args:
        settings: the world.
        feeds: the feeds to write, with their grain.
        out: a folder that does not exist yet, or is empty; it appears whole or not at all.
        since: the first day.
        until: the last day, and the day on which the sources are asked.
        period: how many days of a large feed one file holds.
        with_truth: whether the hidden truth is written beside, under `truth/`.
        progress: told the table and the day that was written last.

    Raises:
        ConfigError: if the folder has something in it, or the days lie outside the world.
    """
    _refuse_days(settings, since, until)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} is there already and is not empty; give a new folder, since nothing is overwritten."
        raise ConfigError(msg)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid4().hex}")
    writer = _Writer(draft, progress or (lambda _table, _day: None))
    try:
        shop = Shop(settings)
        for feed, grain in feeds.items():
            tables = shop.answer(FEEDS[feed], grain, since=since, until=until, as_of=until)
            writer.write(feed, tables, _STAMP[period] if feed in _LARGE else None)
        if with_truth:
            hidden = truth(settings)
            writer.write("truth/daily", hidden.daily(since, until), _STAMP[period])
            for name in ("elasticities", "uplifts", "festivals"):
                writer.write(f"truth/{name}", iter([getattr(hidden, name)()]), None)
        if out.exists():
            out.rmdir()
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Exported(writer.files, writer.rows)


def _refuse_days(settings: SimulatorSettings, since: date, until: date) -> None:
    if not settings.start <= since <= until <= settings.end:
        msg = (
            f"The simulated world lasts from {settings.start} to {settings.end}, so {since} to {until} cannot be "
            f"written; give days of it in order, or change simulator.start and simulator.days in the market's file."
        )
        raise ConfigError(msg)


class _Writer:
    """Writes tables day by day, into one file or a file a period."""

    def __init__(self, folder: Path, progress: Callable[[str, date], None]) -> None:
        self._folder = folder
        self._progress = progress
        self.files = 0
        self.rows: dict[str, int] = {}

    def write(self, name: str, tables: Iterator[pa.Table], stamp: str | None) -> None:
        self.rows[name] = 0
        if stamp is None:
            self._write(name, self._folder / f"{name}.parquet", tables)
            return
        for period, part in groupby(tables, lambda table: table["date"][0].as_py().strftime(stamp)):
            self._write(name, self._folder / name / f"{period}.parquet", part)

    def _write(self, name: str, file: Path, tables: Iterator[pa.Table]) -> None:
        writer: pq.ParquetWriter | None = None
        for table in tables:
            if writer is None:
                file.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(file, table.schema, compression="zstd")
                self.files += 1
            writer.write_table(table)
            self.rows[name] += table.num_rows
            if "date" in table.schema.names and table.num_rows:
                self._progress(name, table["date"][0].as_py())
        if writer is not None:
            writer.close()
