"""From a database's columns to a feed's: renamed, in the contract's types, and of the window's days alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
from ibis.formats.pyarrow import PyArrowType

from pipeline.collect.sources.base import Window
from pipeline.collect.sources.sql.moments import market_time, start_of
from pipeline.errors import SourceError
from pipeline.feeds import Feed

__all__ = ["Columns"]

_UTC = ZoneInfo("UTC")
_DAY = timedelta(days=1)
_AROUND = timedelta(days=3650)
"""How far from the window other days may lie than the feed's own, such as a launch."""
_ISO_DAY = len("2024-01-31")
_ISO_SHAPE = "____-__-__%"
_MONTHS = tuple(f"{month:02}" for month in range(1, 13))
_DAYS = tuple(f"{day:02}" for day in range(1, 32))
_NO_DAYS = ("02-30", "02-31", "04-31", "06-31", "09-31", "11-31")


@dataclass(frozen=True)
class Columns:
    """How the columns of a relation stand for those of a feed."""

    feed: Feed
    relation: str
    """What a message calls the relation."""
    found: Mapping[str, dt.DataType]
    """The relation's columns."""
    names: Mapping[str, str]
    """The contract's column -> the relation's column, where they differ."""
    written_in: ZoneInfo
    """The zone of timestamps that carry none."""
    market: ZoneInfo

    @property
    def of_lines(self) -> bool:
        """Whether the relation shows that it holds raw lines."""
        return bool(self.feed.line_marks) and all(self._name(mark) in self.found for mark in self.feed.line_marks)

    def selected(self, source: ir.Table, schema: pa.Schema, window: Window) -> ir.Table:
        """Return the window's rows and those without a day in the columns of a schema; optional absent ones are null.

        A text that is shaped like a day, but is none, comes as well; so may some about other days than the window's.

        Raises:
            SourceError: if a required column is absent, or a column's type cannot be the contract's.
        """
        day = self.feed.day
        if day is None:
            return source.select(**dict(self._values(source, schema, window)))
        own = self._own(source, schema.field(day))
        kept = source.filter(self._near(own, window) | _unreadable(own))
        rows = kept.select(**dict(self._values(kept, schema, window)))
        if not own.type().is_timestamp():
            return rows
        return rows.filter(rows[day].between(window.since, window.until) | rows[day].isnull())

    def _near(self, own: ir.Value, window: Window) -> ir.BooleanValue:
        """Return a condition on a bare column, by which indexes and partitions prune; at timestamps a day too wide."""
        if own.type().is_string():
            return (own >= str(window.since)) & (own < str(window.until + _DAY))
        if not own.type().is_timestamp():
            return own.between(window.since, window.until)
        since, until = start_of(window.since - _DAY, self.market), start_of(window.until + 2 * _DAY, self.market)
        if own.type().timezone is None:
            since, until = (at.astimezone(self.written_in).replace(tzinfo=None) for at in (since, until))
        return (own >= ibis.timestamp(since)) & (own < ibis.timestamp(until))

    def _values(self, source: ir.Table, schema: pa.Schema, window: Window) -> Iterator[tuple[str, ir.Value]]:
        for column in schema:
            if self._name(column.name) in self.found:
                own = self._own(source, column)
                near = timedelta() if column.name == self.feed.day else _AROUND
                yield column.name, self._typed(own, column.type, window.since - near, window.until + near)
            elif column.name in self.feed.defaults:
                yield column.name, ibis.literal(self.feed.defaults[column.name])
            elif column.nullable:
                yield column.name, ibis.null(_kind(column.type))
            else:
                raise self._missing(column.name)

    def _own(self, source: ir.Table, column: pa.Field) -> ir.Value:
        """Return the relation's column that stands for a column of the contract.

        Raises:
            SourceError: if it is absent, or its type cannot be the contract's.
        """
        name = self._name(column.name)
        if name not in self.found:
            raise self._missing(column.name)
        kind = self.found[name]
        if not kind.is_unknown() and not _fits(kind, column.type):
            msg = (
                f"The column '{name}' of the {self.relation} is of the type {kind}, which cannot be read as "
                f"'{column.name}' of the feed '{self.feed.name}' ({column.type}); convert it in a query, or map "
                f"another column under feeds.{self.feed.name}.columns."
            )
            raise SourceError(msg)
        own = source[name]
        return own.cast("date") if kind.is_unknown() and pa.types.is_date(column.type) else own

    def _typed(self, own: ir.Value, wanted: pa.DataType, first_day: date, last_day: date) -> ir.Value:
        if pa.types.is_date(wanted):
            if own.type().is_string():
                return own.substr(0, _ISO_DAY)
            return self._moment(own, first_day, last_day).date() if own.type().is_timestamp() else own
        if pa.types.is_timestamp(wanted):
            return self._moment(own, first_day, last_day) if own.type().is_timestamp() else own
        return own.cast(_kind(wanted))

    def _moment(self, own: ir.TimestampValue, first_day: date, last_day: date) -> ir.TimestampValue:
        """Return the wall-clock time in the market."""
        if own.type().timezone is None:
            return market_time(own, self.written_in, self.market, first_day, last_day)
        return market_time(own.cast("timestamp"), _UTC, self.market, first_day, last_day)

    def _name(self, column: str) -> str:
        name = self.names.get(column, column)
        # Click streams have one column for both.
        has_none = column == "date" and "date" not in self.names and name not in self.found
        return self.names.get("timestamp", "timestamp") if has_none and self.feed.name == "behaviour" else name

    def _missing(self, column: str) -> SourceError:
        return SourceError(
            f"The {self.relation} lacks the column '{self._name(column)}' for the feed '{self.feed.name}'; it has "
            f"{', '.join(self.found)}. Add it, or map it under feeds.{self.feed.name}.columns in the market's file."
        )


def _unreadable(own: ir.Value) -> ir.BooleanValue:
    """Return the condition that a column says no day: it is null, or a text that is none by its shape or its month."""
    if not own.type().is_string():
        return own.isnull()
    month, day = own.substr(5, 2), own.substr(8, 2)
    is_day = own.like(_ISO_SHAPE) & month.isin(_MONTHS) & day.isin(_DAYS) & own.substr(5, 5).notin(_NO_DAYS)
    return own.isnull() | ~is_day


def _kind(wanted: pa.DataType) -> dt.DataType:
    """Return a contract's type in the words of Ibis; moments have whatever fractions of a second the database keeps."""
    return dt.timestamp if pa.types.is_timestamp(wanted) else PyArrowType.to_ibis(wanted)


def _fits(kind: dt.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_string(wanted):
        return True
    if pa.types.is_date(wanted) or pa.types.is_timestamp(wanted):
        return kind.is_temporal() or kind.is_string()
    return kind.is_numeric() or (pa.types.is_boolean(wanted) and kind.is_boolean())
