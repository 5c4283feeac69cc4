"""From a table's columns to the contract's: plain names, SQL expressions, defaults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pipeline.collect.sources.files.faults import cause
from pipeline.collect.sources.files.sandbox import checked_expression
from pipeline.errors import SourceError
from pipeline.feeds import Feed, Grain

__all__ = ["Columns", "Selection"]

_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
}
_TIMESTAMP = "timestamp"
_DAYS = ("DATE", "TIMESTAMP")
"""How DuckDB's names of the types begin that always have a day, unless they are missing."""
_DATUM = re.compile(r"[-+]?[0-9][0-9.,:/ T-]*")
"""A number or a date, which no header has."""


@dataclass(frozen=True)
class Selection:
    """What is selected from one table."""

    sql: str
    """The SELECT's list: every column of the landed schema, in its order and type."""
    undated: str
    """The condition that a row is about no day that can be read."""
    absent: frozenset[str]
    """Mapped columns whose source the table lacks, and which may be missing."""


@dataclass(frozen=True)
class Columns:
    """How the columns of a feed are made of those of its files."""

    feed: Feed
    grain: Grain
    mapped: Mapping[str, str]
    """The contract's column -> the file's column, or an expression."""
    market: str

    @property
    def schema(self) -> pa.Schema:
        """The schema of what lands."""
        return self.feed.landed_schema(self.grain)

    def selection(
        self, connection: duckdb.DuckDBPyConnection, view: str, found: tuple[str, ...], name: str
    ) -> Selection:
        """Return what to select from a view to get the landed columns; values that are of another type get null.

        Args:
            connection: where the view is.
            view: the view of the table.
            found: the table's columns.
            name: the table's name for messages.

        Raises:
            ConfigError: if a mapping is neither a column nor an SQL expression.
            SourceError: if the table lacks a required column, or an expression does not fit it.
        """
        parts, absent = [], set()
        for column in self.schema:
            value = self._value(connection, view, found, column)
            if value is None and (column.name in self.mapped or not column.nullable):
                if not column.nullable:
                    raise SourceError(self._lacking(column.name, found, name))
                absent.add(column.name)
            parts.append(f'TRY_CAST({value or "NULL"} AS {_SQL_TYPES[column.type]}) AS "{column.name}"')
        return Selection(", ".join(parts), self._undated(connection, view, found), frozenset(absent))

    def day(self, found: tuple[str, ...]) -> str | None:
        """Return the expression of the day that a row is about, as far as these columns tell it, unchecked."""
        if self.feed.day is None:
            return None
        text = self.mapped.get(self.feed.day, self.feed.day)
        return f'TRY_CAST("{text}" AS DATE)' if text in found else f"TRY_CAST(TRY(({text}\n)) AS DATE)"

    def _undated(self, connection: duckdb.DuckDBPyConnection, view: str, found: tuple[str, ...]) -> str:
        if self.feed.day is None:
            return "false"
        value = self._value(connection, view, found, self.schema.field(self.feed.day))
        kinds = dict(zip(found, map(str, connection.sql(f"FROM {view}").types), strict=False))
        # Of a column of days or times, the statistics of row groups tell whether any is missing; of an expression not.
        is_plain = kinds.get(self.mapped.get(self.feed.day, self.feed.day), "").startswith(_DAYS)
        return f"{value} IS NULL" if is_plain else f"TRY_CAST({value} AS DATE) IS NULL"

    def _value(
        self, connection: duckdb.DuckDBPyConnection, view: str, found: tuple[str, ...], column: pa.Field
    ) -> str | None:
        """Return the SQL of a column's value, or None where the table has nothing for it."""
        text = self.mapped.get(column.name, column.name)
        if text in found:
            return f'"{text}"'
        if column.name in self.mapped:
            return self._expression(connection, view, column.name)
        if column.name in self.feed.defaults:
            return f"'{self.feed.defaults[column.name]}'"
        if column.name == self.feed.day and _TIMESTAMP in self.schema.names:
            moment = self._value(connection, view, found, self.schema.field(_TIMESTAMP))
            return moment and f"TRY_CAST({moment} AS DATE)"
        return None

    def _expression(self, connection: duckdb.DuckDBPyConnection, view: str, column: str) -> str | None:
        whose = f"feeds.{self.feed.name}.columns.{column} of the market '{self.market}'"
        text = self.mapped[column]
        # A value that an expression fails at is missing, like one that cannot be read: the gate judges it.
        value = f"TRY({checked_expression(text, whose)})"
        try:
            connection.sql(f"SELECT {value} FROM {view}")  # noqa: S608 - it runs in a sandbox
        except duckdb.BinderException as exc:
            if "Referenced column" in str(exc):
                return None
            raise SourceError(_misfit(whose, text, exc)) from exc
        except duckdb.Error as exc:
            raise SourceError(_misfit(whose, text, exc)) from exc
        return value

    def _lacking(self, column: str, found: tuple[str, ...], name: str) -> str:
        wanted = self.mapped.get(column, column)
        kind = "column" if wanted.isidentifier() else "columns of the expression"
        whose = (
            f"The files of the feed '{self.feed.name}' ({name}) of the market '{self.market}' lack the {kind} "
            f"'{wanted}'"
        )
        if any(_DATUM.fullmatch(found_name) for found_name in found):
            # What stands there may be somebody's data: it is not repeated.
            return f"{whose}; their first line looks like data and not like a header: give them one."
        return (
            f"{whose}; they have {', '.join(found)}. Add it, or map '{column}' to another one under "
            f"feeds.{self.feed.name}.columns in the market's file."
        )


def _misfit(whose: str, text: str, exc: Exception) -> str:
    return (
        f"{whose} is `{text}`, which does not fit its files: {cause(exc)}; columns of CSV and Excel files are text, so "
        f"cast those that you calculate with (`Quantity::DOUBLE`)."
    )
