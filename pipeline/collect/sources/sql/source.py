"""The adapter: one statement a feed, written by Ibis, run where the data lies."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
import sqlglot.expressions as sge
from ibis.backends.sql import compilers

from pipeline.collect.sources.base import Window
from pipeline.collect.sources.sql.alchemy import Alchemy
from pipeline.collect.sources.sql.columns import Columns
from pipeline.collect.sources.sql.duck import Duck
from pipeline.collect.sources.sql.engine import Engine, MissingTableError, Relation
from pipeline.collect.sources.sql.spark import Spark
from pipeline.collect.sources.sql.sums import FACTS, IN_PARTS, PARTS
from pipeline.errors import ConfigError, SourceError, SourceUnavailableError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market
from pipeline.sources import SqlSource

__all__ = ["Sql"]

_SOURCE = "trendmill_source"
"""Stands for the relation in an expression until the statement is written."""
_SPARK = "spark://"
_ORDERING_TEXTS = ("order_id", "line")
_FILES = ("duckdb", "sqlite")
"""Databases that are a file, whose path starts from the market's folder."""


class Sql:
    """A feed kept in a database."""

    def __init__(self, settings: SqlSource, market: Market) -> None:
        self._settings = settings
        self._market = market
        self._relation = Relation(settings.table, settings.query, settings.where)
        self._found: Mapping[str, dt.DataType] | None = None

    def grain(self, feed: Feed) -> Grain:
        """Return `lines` where the relation holds raw lines and they are not to be summed up there, else `facts`.

        Raises:
            SourceError: if the database or the table cannot be read.
        """
        if not feed.line_marks:
            return "facts"
        with self._open(feed) as engine:
            of_lines = self._columns(engine, feed).of_lines
        return "lines" if of_lines and not self._settings.aggregate else "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows of the window and those without a day.

        Raises:
            SourceError: if the database refuses, or the relation lacks what the contract requires.
            SourceUnavailableError: if the database does not answer, or is lost on the way.
        """
        with self._open(feed) as engine:
            columns = self._columns(engine, feed)
            for piece in _pieces(window, engine.slice_days if feed.day else None):
                expression, schema = self._expression(feed, columns, piece)
                for batch in engine.rows(self._statement(expression, engine.compiler)):
                    rows = _conformed(batch, schema, in_parts=columns.of_lines and self._settings.aggregate)
                    yield _of_window(rows, feed, piece, undated=piece.since == window.since)

    def _expression(self, feed: Feed, columns: Columns, window: Window) -> tuple[ir.Table, pa.Schema]:
        """Return what is asked for, and the schema of the answer."""
        source = ibis.table(dict(columns.found), name=_SOURCE)
        if not columns.of_lines:
            return columns.selected(source, feed.schema, window), feed.schema
        schema = feed.landed_schema("lines")
        lines = columns.selected(source, schema, window)
        if not self._settings.aggregate:
            return lines, schema
        return FACTS[feed.name](lines).order_by(*feed.key), feed.schema

    def _statement(self, expression: ir.Table, compiler: str) -> str:
        """Return an expression as SQL over the relation."""
        writer = getattr(compilers, compiler).compiler
        statement = writer.to_sqlglot(expression)
        relation = sge.Var(this=self._relation.text(writer.dialect))
        for table in statement.find_all(sge.Table):
            if table.name == _SOURCE:
                table.set("this", relation.copy())
        if compiler == "postgres":
            _order_by_bytes(statement)
        return statement.sql(dialect=writer.dialect)

    def _columns(self, engine: Engine, feed: Feed) -> Columns:
        if self._found is None:
            self._found = engine.columns(self._relation)
        return Columns(
            feed=feed,
            relation=f"{self._relation.name} of the market '{self._market.name}'",
            found=self._found,
            names=self._settings.columns,
            written_in=ZoneInfo(self._settings.timezone or self._market.timezone),
            market=self._market.zone,
        )

    @contextmanager
    def _open(self, feed: Feed) -> Iterator[Engine]:
        """Open the database, and say in one sentence what goes wrong with it."""
        address = _Address.of(self._settings, self._market, feed)
        engine = _engine(address)
        try:
            engine.open()
            yield engine
        except MissingTableError as exc:
            names = ", ".join(exc.args[0]) or "no tables"
            msg = f"{address} has no {self._relation.name}; it has {names}. Correct feeds.{feed.name}.table."
            raise SourceError(msg) from exc
        except engine.errors as exc:
            cause = address.masked(engine.cause(exc)).rstrip(".")
            if engine.may_pass(exc):
                msg = f"{address} does not answer, or broke off: {cause}; check that it runs, and try again."
                raise SourceUnavailableError(msg) from exc
            msg = f"{address} cannot deliver the feed '{feed.name}': {cause}; correct it there or in the market's file."
            raise SourceError(msg) from exc
        except pa.ArrowException as exc:
            # What Arrow says would repeat the value.
            msg = f"{address} delivers a value for the feed '{feed.name}' that does not fit; correct it in a query."
            raise SourceError(msg) from exc
        finally:
            engine.close()


@dataclass(frozen=True)
class _Address:
    """Where a database is, and how to speak of it without its secrets."""

    url: sa.URL | None
    """None for Spark, whose URLs are its own."""
    text: str
    about: str

    @classmethod
    def of(cls, settings: SqlSource, market: Market, feed: Feed) -> "_Address":
        """Return the address that the settings or the environment name.

        Raises:
            ConfigError: if the environment lacks it, or it is no URL.
        """
        variable = settings.url_variable
        text = os.environ.get(variable, "") if variable else str(settings.url)
        whose = f"of the market '{market.name}'"
        if not text:
            msg = (
                f"The environment variable '{variable}' is not set, but feeds.{feed.name} {whose} is read from the "
                f"database that it names; set it to a URL such as postgresql://user:password@host/database."
            )
            raise ConfigError(msg)
        if text.startswith(_SPARK):
            return cls(None, text, f"Spark at {text.partition('?')[0]} {whose}")
        try:
            url = sa.make_url(text.replace("postgres://", "postgresql://", 1))
        except sa.exc.ArgumentError as exc:
            where = f"The environment variable '{variable}'" if variable else f"feeds.{feed.name}.url"
            msg = (
                f"{where} {whose} holds no URL of a database; give one such as "
                f"postgresql://user:password@host/database."
            )
            raise ConfigError(msg) from exc
        if url.get_backend_name() in _FILES and url.database:
            url = url.set(database=str(market.file.parent / url.database))
        return cls(url, text, f"The database {url.set(password=None, query={}).render_as_string()} {whose}")

    def __str__(self) -> str:
        return self.about

    def masked(self, text: str) -> str:
        """Return a text without the password."""
        return text.replace(self.url.password, "***") if self.url and self.url.password else text


def _engine(address: _Address) -> Engine:
    """Return the engine that reads a database; it is not opened yet.

    Raises:
        ConfigError: if nothing that is installed can read it.
    """
    if address.url is None:
        return Spark(address.text)
    if address.url.get_backend_name() == "duckdb":
        return Duck(address.url.database)
    try:
        return Alchemy(address.url)
    except (ImportError, sa.exc.ArgumentError) as exc:
        msg = f"{address} needs a package that is not installed ({exc}); install its SQLAlchemy dialect and driver."
        raise ConfigError(msg) from exc


def _pieces(window: Window, days: int | None) -> Iterator[Window]:
    """Yield a window in pieces of so many days."""
    since, step = window.since, timedelta(days=days or (window.until - window.since).days + 1)
    while since <= window.until:
        until = min(since + step - timedelta(days=1), window.until)
        yield replace(window, since=since, until=until)
        since += step


def _order_by_bytes(statement: sge.Expression) -> None:
    """Let text be ordered within windows as everywhere else, whatever the database's language is."""
    for ordered in statement.find_all(sge.Ordered):
        column = ordered.this
        if ordered.find_ancestor(sge.Window) and isinstance(column, sge.Column) and column.name in _ORDERING_TEXTS:
            ordered.set("this", sge.Collate(this=column.copy(), expression=sge.to_identifier("C", quoted=True)))


def _conformed(batch: pa.RecordBatch, schema: pa.Schema, *, in_parts: bool) -> pa.RecordBatch:
    """Return an answer in the types of a schema."""
    columns = []
    for field in schema:
        values = batch.column(field.name)
        if in_parts and field.name in IN_PARTS:
            # Divided once, by whole numbers: then the nearest double comes out, up to 2^53 parts.
            parts = values.cast(pa.int64()).cast(pa.float64(), safe=False)
            columns.append(pc.divide(parts, float(PARTS)))
        else:
            columns.append(_read(values, field.type))
    return pa.RecordBatch.from_arrays(
        columns, schema=pa.schema([field.with_nullable(nullable=True) for field in schema])
    )


def _of_window(rows: pa.RecordBatch, feed: Feed, window: Window, *, undated: bool) -> pa.RecordBatch:
    """Return the rows about the days of a window, and those without a day where they have not come yet."""
    if feed.day is None:
        return rows
    days = rows.column(feed.day)
    inside = pc.and_(pc.greater_equal(days, window.since), pc.less_equal(days, window.until))
    return rows.filter(pc.fill_null(inside, undated))


def _read(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values in a type; texts that are no such thing are missing, for the gate to judge."""
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        if not pa.types.is_string(values.type):
            raise
        return pa.array([_read_one(value, kind) for value in values], kind)


def _read_one(value: pa.Scalar, kind: pa.DataType) -> object:
    try:
        return value.cast(kind).as_py()
    except pa.ArrowInvalid:
        return None
