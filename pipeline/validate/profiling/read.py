"""Reading a source for its profile: put on disk for a while, then looked at column by column in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bounded import bounded_duckdb, quoted
from pipeline.collect.sources import Source, Window, open_source
from pipeline.cycle import Cycle
from pipeline.errors import SourceError
from pipeline.feeds import FEEDS, Feed, FeedName, Grain
from pipeline.sources import FilesSource, SqlSource
from pipeline.validate.profiling.profile import FEW_VALUES, QUANTILES, ColumnProfile, FeedProfile

__all__ = ["Progress", "profile_feed"]

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is (None where nobody knows)."""

EXAMPLES = 3
AHEAD_DAYS = 366
"""How far ahead plans and holidays are looked at."""


@dataclass(frozen=True)
class _Staged:
    """The source's rows on disk, their personal columns as hashes."""

    file: Path
    schema: pa.Schema
    grain: Grain
    rows: int
    later_rows: int
    latest: date | None


@dataclass
class _Staging:
    """The rows being put on disk."""

    file: Path
    feed: Feed
    schema: pa.Schema
    as_of: date
    rows: int = 0
    later_rows: int = 0
    latest: date | None = None

    def write_all(self, batches: Iterator[pa.RecordBatch], progress: Progress) -> None:
        """Put every row down that is known as of the day, and count the others."""
        with pq.ParquetWriter(self.file, self.schema, compression="zstd") as writer, duckdb.connect() as connection:
            for batch in batches:
                kept = self._without_later(batch)
                writer.write_table(self._without_people(kept, connection))
                self.rows += kept.num_rows
                progress("reading the source", self.rows, None)

    def _without_later(self, batch: pa.RecordBatch) -> pa.Table:
        rows = pa.Table.from_batches([batch])
        if self.feed.day is None or not rows.num_rows:
            return rows
        latest = pc.max(rows[self.feed.day]).as_py()
        self.latest = max(filter(None, (self.latest, latest)), default=None)
        if self.feed.looks_ahead:
            return rows
        known = pc.fill_null(pc.less_equal(rows[self.feed.day], pa.scalar(self.as_of)), fill_value=True)
        kept = rows.filter(known)
        self.later_rows += rows.num_rows - kept.num_rows
        return kept

    def _without_people(self, rows: pa.Table, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Personal columns are only counted here, so a hash of them is enough: no id reaches the disk."""
        hidden = [column for column in self.feed.personal if column in rows.column_names]
        if not hidden:
            return rows.cast(self.schema)
        connection.register("fetched", rows)
        hashes = ", ".join(f'CASE WHEN "{name}" IS NOT NULL THEN hash("{name}") END AS "{name}"' for name in hidden)
        return connection.sql(f"SELECT * REPLACE ({hashes}) FROM fetched").to_arrow_table().cast(self.schema)  # noqa: S608


def profile_feed(cycle: Cycle, feed: FeedName, progress: Progress = lambda _what, _done, _all: None) -> FeedProfile:
    """Read all that a feed's source holds as of the cycle's day and say what it is like; nothing is landed.

    Raises:
        ConfigError: if the market has no such feed.
        SourceError: if the source cannot be read, lacks a column, or has no rows.
    """
    contract = FEEDS[feed]
    with _staged(cycle, contract, progress) as staged, bounded_duckdb(staged.file.parent) as connection:
        connection.register("fetched", connection.read_parquet(str(staged.file)))
        columns = []
        for position, column in enumerate(contract.landed_schema(staged.grain)):
            progress("looking at columns", position, len(staged.schema))
            columns.append(_column_profile(connection, contract, column, staged))
        progress("looking for repeats", len(staged.schema), len(staged.schema))
        repeated_rows, repeated_keys = _repeats(connection, contract, staged)
        return FeedProfile(
            market=cycle.market.name,
            feed=feed,
            grain=staged.grain,
            as_of=cycle.as_of,
            rows=staged.rows,
            repeated_rows=repeated_rows,
            repeated_keys=repeated_keys,
            later_rows=staged.later_rows,
            latest=staged.latest,
            days_without_rows=_days_without_rows(connection, contract),
            columns=tuple(columns),
        )


@contextmanager
def _staged(cycle: Cycle, feed: Feed, progress: Progress) -> Iterator[_Staged]:
    settings = cycle.market.feed(feed.name)
    source = open_source(settings, cycle.market)
    # What is listed in files and tables is looked at to its end, so that a mistyped year is found.
    until = date.max if isinstance(settings, FilesSource | SqlSource) else cycle.as_of + timedelta(days=AHEAD_DAYS)
    window = Window(cycle.market.history_start, until, cycle.as_of)
    grain = source.grain(feed)
    with TemporaryDirectory(prefix="trendmill-profile-") as scratch:
        staging = _Staging(Path(scratch) / "rows.parquet", feed, _staged_schema(feed, grain), cycle.as_of)
        staging.write_all(_fetched(source, feed, window), progress)
        if not staging.rows:
            msg = (
                f"The source of the feed '{feed.name}' has no rows between {window.since} and {cycle.as_of}; check the "
                f"source, or give a date that it covers."
            )
            raise SourceError(msg)
        yield _Staged(staging.file, staging.schema, grain, staging.rows, staging.later_rows, staging.latest)


def _fetched(source: Source, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
    yield from source.fetch(feed, window)


def _staged_schema(feed: Feed, grain: Grain) -> pa.Schema:
    return pa.schema(
        [
            pa.field(column.name, pa.uint64() if column.name in feed.personal else column.type)
            for column in feed.landed_schema(grain)
        ]
    )


def _column_profile(
    connection: duckdb.DuckDBPyConnection, feed: Feed, column: pa.Field, staged: _Staged
) -> ColumnProfile:
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE counted AS
        SELECT "{column.name}" AS value, count(*) AS n FROM fetched GROUP BY value
        """  # noqa: S608 - names come from the feeds' contracts
    )
    nulls = _one(connection, "SELECT coalesce(sum(n), 0)::BIGINT FROM counted WHERE value IS NULL")
    distinct = _one(connection, "SELECT count(value) FROM counted")
    told: dict[str, Any] = {}
    if column.name not in feed.personal and distinct:
        told = _told(connection, column)
    return ColumnProfile(
        name=column.name,
        kind=str(column.type),
        role=_role(feed, column.name, staged.grain),
        required=not column.nullable,
        rows=staged.rows,
        nulls=nulls,
        distinct=distinct,
        **told,
    )


def _told(connection: duckdb.DuckDBPyConnection, column: pa.Field) -> dict[str, Any]:
    """Return what a column that is not personal says: its range, its examples, and oddities of its type."""
    is_float, is_text = pa.types.is_floating(column.type), pa.types.is_string(column.type)
    finite = "value IS NOT NULL AND isfinite(value)" if is_float else "value IS NOT NULL"
    least, most = connection.sql(f"SELECT min(value), max(value) FROM counted WHERE {finite}").fetchall()[0]  # noqa: S608
    frequent = "SELECT value::VARCHAR FROM counted WHERE value IS NOT NULL ORDER BY n DESC, value LIMIT"
    told: dict[str, Any] = {
        "minimum": least,
        "maximum": most,
        "examples": tuple(value for (value,) in connection.sql(f"{frequent} {EXAMPLES}").fetchall()),
    }
    if is_text:
        values = connection.sql(f"{frequent} {FEW_VALUES + 1}").fetchall()
        spelt = "SELECT count(value) - count(DISTINCT upper(trim(value))) FROM counted"
        told["known_values"] = tuple(sorted(value for (value,) in values)) if len(values) <= FEW_VALUES else ()
        told["spellings"] = _one(connection, spelt)
    elif not pa.types.is_boolean(column.type):
        told["quantiles"] = _quantiles(connection, finite)
    if is_float:
        told["not_finite"] = _one(
            connection, "SELECT coalesce(sum(n), 0)::BIGINT FROM counted WHERE NOT isfinite(value)"
        )
    if is_float or pa.types.is_integer(column.type):
        negative = f"SELECT coalesce(sum(n), 0)::BIGINT FROM counted WHERE {finite} AND value < 0"  # noqa: S608
        told["negative"] = _one(connection, negative)
    return told


def _quantiles(connection: duckdb.DuckDBPyConnection, finite: str) -> tuple[Any, ...]:
    """Return the exact quantiles, from the counts of the values: DuckDB's own keeps every row in memory."""
    asked = ", ".join(f"min(value) FILTER (upto >= {share} * total)" for share in QUANTILES)
    sql = f"""
        WITH running AS (
            SELECT value, sum(n) OVER (ORDER BY value) AS upto, sum(n) OVER () AS total FROM counted WHERE {finite}
        ) SELECT {asked} FROM running
    """  # noqa: S608 - built from constants
    return tuple(connection.sql(sql).fetchall()[0])


def _repeats(connection: duckdb.DuckDBPyConnection, feed: Feed, staged: _Staged) -> tuple[int, int]:
    """Return how many rows repeat another one as a whole, and how many distinct ones share a key with another."""
    names, key = quoted(staged.schema.names), feed.landed_key(staged.grain)
    complete = " AND ".join(f'"{name}" IS NOT NULL' for name in key)
    sql = f"""
        WITH said AS (SELECT {names} FROM fetched GROUP BY {names}),
             keys AS (SELECT count(*) AS n FROM said WHERE {complete} GROUP BY {quoted(key)})
        SELECT (SELECT count(*) FROM said), (SELECT coalesce(sum(n - 1), 0)::BIGINT FROM keys)
    """  # noqa: S608 - names come from the feeds' contracts
    said, repeated_keys = connection.sql(sql).fetchall()[0]
    return staged.rows - said, repeated_keys


def _days_without_rows(connection: duckdb.DuckDBPyConnection, feed: Feed) -> int:
    """Return how many days of a feed that says something every day have no row."""
    if feed.day is None or feed.name in {"promotions", "calendar"}:
        return 0
    sql = f'SELECT coalesce(max("{feed.day}") - min("{feed.day}") + 1 - count(DISTINCT "{feed.day}"), 0) FROM fetched'  # noqa: S608
    return _one(connection, sql)


def _role(feed: Feed, column: str, grain: Grain) -> str:
    if column in feed.personal:
        return "personal"
    if column in (*feed.key, *feed.landed_key(grain)):
        return "key"
    return feed.roles.get(column, "about")


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.sql(sql).fetchall()[0][0])
