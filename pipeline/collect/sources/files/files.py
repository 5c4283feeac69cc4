"""The adapter: a feed kept in files, with its columns made as the market's YAML says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import duckdb
import pyarrow as pa

from pipeline.collect.sources.base import BATCH_ROWS, Window, conform
from pipeline.collect.sources.files.faults import cause
from pipeline.collect.sources.files.location import Location, SourceFile
from pipeline.collect.sources.files.mapping import Columns
from pipeline.collect.sources.files.sandbox import checked_expression, checked_query, sandbox
from pipeline.collect.sources.files.tables import Tables, called
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market
from pipeline.sources import FilesSource

__all__ = ["Files"]

_VIEW = "files"
"""The name under which a market's SQL sees its files."""
_NUMBER = "number of the file"
_UNDATED = '"without a day"'
_ANY_WINDOW = Window(date.min, date.min, date.min)
"""For asking which columns a query has."""


class Files:
    """A feed kept in files.

    Rows are streamed: no more than a few batches are in memory at once, and of a workbook one sheet. Values that cannot
    be read as their column's type are landed as missing, for the gate to judge.
    """

    def __init__(self, settings: FilesSource, market: Market) -> None:
        self._settings = settings
        self._market = market.name
        self._timezone = market.timezone
        self._location = Location(settings.path, market.file.resolve().parent, market.name)

    def grain(self, feed: Feed) -> Grain:
        """Return `lines` where the files carry the mark of a raw line, such as an order's number, else `facts`.

        The mark is one that the market maps, or a column of the newest file by its name.

        Raises:
            ConfigError: if the market maps a column that the feed does not have.
            SourceError: if there is no such file, or it cannot be read.
        """
        self._refuse_unknown(feed)
        if feed.lines is None:
            return "facts"
        missing = set(feed.line_marks) - set(self._settings.columns)
        return "lines" if not missing or missing <= set(self._columns_of_newest(feed)) else "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows of the window, and those whose day cannot be read.

        Raises:
            ConfigError: if SQL of the market's file is wrong.
            SourceError: if there is no such file, it cannot be read, or a required column is absent.
            SourceUnavailableError: if the store that has the files does not answer, or a file vanishes.
        """
        columns = Columns(feed, self.grain(feed), self._settings.columns, self._market)
        with self._opened(self._location.files) as tables:
            batches = self._mapped if self._settings.query is None else self._queried
            for batch in batches(tables, columns, window):
                yield conform(batch, columns.schema)

    def _mapped(self, tables: Tables, columns: Columns, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows of each table in turn."""
        files = self._location.files
        of_window = _of_window(tables.connection, files, columns, window)
        never = set(columns.mapped) if len(of_window) == len(files) else set()
        for table in tables.of(of_window):
            table.show(tables.connection, _VIEW)
            selection = columns.selection(tables.connection, _VIEW, table.columns, table.name)
            never &= selection.absent
            condition = self._condition(tables.connection, columns.feed)
            sql = f"SELECT {selection.sql}, {selection.undated} AS {_UNDATED} FROM {_VIEW}{condition}"  # noqa: S608
            yield from _streamed(tables, table.files, _within(sql, columns.feed, window), {})
        if never:
            column = min(never)
            msg = (
                f"feeds.{columns.feed.name}.columns.{column} of the market '{self._market}' is "
                f"`{columns.mapped[column]}`, which no file of '{self._settings.path}' has; correct it or leave it out."
            )
            raise SourceError(msg)

    def _queried(self, tables: Tables, columns: Columns, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield what the market's own query says of all files, sorted: its parallel work has no order."""
        query, values, found = self._query(tables, columns.feed, window)
        name = f"{called(self._location.files)}, as feeds.{columns.feed.name}.query sees them"
        selection = columns.selection(tables.connection, _VIEW, found, name)
        sql = f"SELECT {selection.sql}, {selection.undated} AS {_UNDATED} FROM {query}"  # noqa: S608 - in a sandbox
        yield from _streamed(tables, self._location.files, f"{_within(sql, columns.feed, window)} ORDER BY ALL", values)

    def _query(self, tables: Tables, feed: Feed, window: Window) -> tuple[str, dict[str, object], tuple[str, ...]]:
        """Return the market's query, the values of its parameters and its columns; its files are shown to it."""
        whose = f"feeds.{feed.name}.query of the market '{self._market}'"
        days = {"since": window.since, "until": window.until, "as_of": window.as_of}
        query, values = checked_query(str(self._settings.query), whose, days)
        tables.show_all(self._location.files, _VIEW)
        try:
            return query, values, tuple(tables.connection.sql(f"FROM {query}", params=values or None).columns)
        except duckdb.Error as exc:
            msg = f"{whose} does not fit its files: {cause(exc)}; correct it."
            raise SourceError(msg) from exc

    def _condition(self, connection: duckdb.DuckDBPyConnection, feed: Feed) -> str:
        if self._settings.where is None:
            return ""
        whose = f"feeds.{feed.name}.where of the market '{self._market}'"
        condition = checked_expression(self._settings.where, whose)
        try:
            connection.sql(f"FROM {_VIEW} WHERE {condition}")
        except duckdb.Error as exc:
            msg = f"{whose} is `{self._settings.where}`, which does not fit its files: {cause(exc)}; correct it."
            raise SourceError(msg) from exc
        return f" WHERE {condition}"

    @contextmanager
    def _opened(self, files: Sequence[SourceFile]) -> Iterator[Tables]:
        filesystem, _ = self._location.opened
        with sandbox((file.path for file in files), filesystem, self._timezone) as connection:
            yield Tables(self._settings, self._market, filesystem, connection)

    def _columns_of_newest(self, feed: Feed) -> tuple[str, ...]:
        """Return the columns of the file that is last by its name, or of the market's query."""
        if self._settings.query is None:
            newest = self._location.files[-1:]
            with self._opened(newest) as tables:
                return next((table.columns for table in tables.of(newest)), ())
        with self._opened(self._location.files) as tables:
            _, _, found = self._query(tables, feed, _ANY_WINDOW)
            return found

    def _refuse_unknown(self, feed: Feed) -> None:
        columns = set(feed.schema.names) | set(feed.lines.names if feed.lines else ())
        for column in self._settings.columns:
            if column not in columns:
                msg = (
                    f"feeds.{feed.name}.columns of the market '{self._market}' names '{column}', which is no column of "
                    f"that feed; it has {', '.join(sorted(columns))}."
                )
                raise ConfigError(msg)


def _of_window(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile], columns: Columns, window: Window
) -> Sequence[SourceFile]:
    """Return the files that may have rows of the window, as far as their folders' names tell."""
    day = columns.day(tuple(files[0].keys))
    if day is None or not files[0].keys or any(file.keys.keys() != files[0].keys.keys() for file in files):
        return files
    keys = pa.Table.from_pylist([{**file.keys, _NUMBER: number} for number, file in enumerate(files)])
    connection.register("keys", keys)
    # A key that is no day may stand for one that cannot be read: only rows can tell.
    sql = f'SELECT "{_NUMBER}" FROM keys WHERE coalesce({day} BETWEEN $since AND $until, true)'  # noqa: S608 - in a sandbox
    try:
        found = connection.sql(sql, params={"since": window.since, "until": window.until}).fetchall()
    except duckdb.BinderException:
        return files
    return [files[number] for (number,) in sorted(found)]


def _within(sql: str, feed: Feed, window: Window) -> str:
    """Return a query's rows about the days of the window, and those without a day."""
    rows = f"SELECT * EXCLUDE ({_UNDATED}) FROM ({sql})"  # noqa: S608 - it runs in a sandbox
    if feed.day is None:
        return rows
    return f"{rows} WHERE {feed.day} BETWEEN DATE '{window.since}' AND DATE '{window.until}' OR {_UNDATED}"


def _streamed(
    tables: Tables, files: Sequence[SourceFile], sql: str, values: dict[str, object]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from tables.connection.sql(sql, params=values or None).to_arrow_reader(BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as exc:
        raise tables.fault(exc, files) from exc
