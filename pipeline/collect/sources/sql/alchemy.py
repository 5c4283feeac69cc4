"""Any database that SQLAlchemy has a dialect for: PostgreSQL, MySQL, SQL Server, Oracle, Snowflake, SQLite, ..."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis.expr.datatypes as dt
import pyarrow as pa
import sqlalchemy as sa

from pipeline.collect.sources.sql.engine import MissingTableError, Relation

__all__ = ["Alchemy"]

FETCH_ROWS = 50_000
"""Rows fetched at once: they are Python objects, so fewer than a batch of Arrow columns may have."""

_COMPILERS = {
    "awsathena": "athena",
    "bigquery": "bigquery",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "databricks": "databricks",
    "druid": "druid",
    "exa": "exasol",
    "impala": "impala",
    "mariadb": "mysql",
    "mssql": "mssql",
    "mysql": "mysql",
    "oracle": "oracle",
    "snowflake": "snowflake",
    "sqlite": "sqlite",
    "trino": "trino",
}
"""SQLAlchemy's dialect -> the compiler of Ibis; all others get PostgreSQL's SQL, the nearest to the standard."""

_IN_UTC = {
    "cockroachdb": "SET TIME ZONE 'UTC'",
    "mariadb": "SET time_zone = '+00:00'",
    "mysql": "SET time_zone = '+00:00'",
    "oracle": "ALTER SESSION SET TIME_ZONE = 'UTC'",
    "postgresql": "SET TIME ZONE 'UTC'",
    "snowflake": "ALTER SESSION SET TIMEZONE = 'UTC'",
}
"""How a session is told to show instants in UTC, where it would show them in a time zone of its own."""

_POSTGRES_TYPES: dict[int, dt.DataType] = {
    16: dt.boolean,
    20: dt.int64,
    21: dt.int64,
    23: dt.int64,
    25: dt.string,
    700: dt.float64,
    701: dt.float64,
    1042: dt.string,
    1043: dt.string,
    1082: dt.date,
    1114: dt.timestamp,
    1184: dt.Timestamp("UTC"),
    1700: dt.Decimal(),
}
"""Types by their number in PostgreSQL's catalogue: https://www.postgresql.org/docs/current/catalog-pg-type.html"""

_DECLARED: tuple[tuple[type[sa.types.TypeEngine[Any]], dt.DataType], ...] = (
    (sa.Boolean, dt.boolean),
    (sa.Integer, dt.int64),
    (sa.Float, dt.float64),
    (sa.Numeric, dt.Decimal()),
    (sa.Date, dt.date),
    (sa.String, dt.string),
)
"""Types as SQLAlchemy reflects them; the narrower ones first."""

_PYTHON: tuple[tuple[type, dt.DataType], ...] = (
    (bool, dt.boolean),
    (int, dt.int64),
    (float, dt.float64),
    (Decimal, dt.Decimal()),
    (date, dt.date),
    (str, dt.string),
)
"""Types of the values that a driver gives; the narrower ones first."""

_PASSING_STATES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes: connection, serialisation, resources, object in use, operator (also timeouts), system."""

_FINAL_WORDS = (
    "access denied",
    "authentication failed",
    "does not exist",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "unknown database",
)
"""What servers say at the door, where they give no SQLSTATE, of what no retry will change."""


class Alchemy:
    """A connection through SQLAlchemy, whose results are streamed where the driver can."""

    errors = (sa.exc.SQLAlchemyError,)
    slice_days = None

    def __init__(self, url: sa.URL) -> None:
        self._kind = url.get_backend_name()
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
        self._opened: sa.Connection | None = None
        self.compiler = _COMPILERS.get(self._kind, "postgres")

    def open(self) -> None:
        """Connect; PostgreSQL then holds the session to reading."""
        self._opened = self._engine.connect().execution_options(postgresql_readonly=True)
        if self._kind in _IN_UTC:
            self._connection.exec_driver_sql(_IN_UTC[self._kind])

    def columns(self, relation: Relation) -> Mapping[str, dt.DataType]:
        """Return the columns of a relation with their types; a query is asked for its head, or for its first row."""
        if relation.table:
            return self._table_columns(relation)
        query = f"SELECT * FROM {relation.text(self.compiler)} described"  # noqa: S608 - the market's own query
        if self._kind == "postgresql":
            # The planner sees that there is nothing to do.
            head = self._execute(f"{query} WHERE 1 = 0")
            return {name: _POSTGRES_TYPES.get(code, dt.unknown) for name, code, *_ in head.cursor.description}
        with self._execute(query) as result:
            first = result.fetchone()
            names = list(result.keys())
        values = first or (None,) * len(names)
        return {self._physical(name): _python_type(value) for name, value in zip(names, values, strict=True)}

    def rows(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Yield a statement's result in batches of `FETCH_ROWS`."""
        with self._execute(statement) as result:
            names = list(result.keys())
            for rows in result.partitions(FETCH_ROWS):
                yield pa.RecordBatch.from_arrays([pa.array(values) for values in zip(*rows, strict=True)], names)

    def may_pass(self, error: Exception) -> bool:
        """Return whether the connection was lost or refused for now, by its SQLSTATE or by what the server says."""
        if not isinstance(error, sa.exc.DBAPIError):
            return isinstance(error, sa.exc.TimeoutError)
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if state:
            return state.startswith(_PASSING_STATES)
        said = str(error.orig).lower()
        if self._kind == "sqlite":
            return "locked" in said
        temporary = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        return temporary and not any(words in said for words in _FINAL_WORDS)

    def cause(self, error: Exception) -> str:
        """Return the first line of what the driver says: SQLAlchemy's own text would repeat the statement."""
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        return next(iter(str(said).splitlines()), type(said).__name__)

    def close(self) -> None:
        """Close the connection; one that is broken is closed already."""
        if self._opened is not None:
            with suppress(sa.exc.SQLAlchemyError):
                self._opened.close()
        self._engine.dispose()

    @property
    def _connection(self) -> sa.Connection:
        if self._opened is None:
            msg = "the database is not open"
            raise RuntimeError(msg)
        return self._opened

    def _execute(self, statement: str) -> sa.CursorResult[Any]:
        """Run a statement as it stands: a colon in it is no parameter."""
        text = sa.text(statement.replace(":", "\\:"))
        return self._connection.execution_options(stream_results=True, max_row_buffer=FETCH_ROWS).execute(text)

    def _table_columns(self, relation: Relation) -> Mapping[str, dt.DataType]:
        inspector = sa.inspect(self._connection)
        try:
            found = inspector.get_columns(relation.table_name, schema=relation.schema)
        except sa.exc.NoSuchTableError as exc:
            schema = relation.schema
            tables = inspector.get_table_names(schema) + inspector.get_view_names(schema)
            raise MissingTableError(sorted(tables)) from exc
        return {self._physical(column["name"]): self._type(column["type"]) for column in found}

    def _physical(self, name: str) -> str:
        """Return a column's name as the database spells it in quotes: Oracle and Snowflake write it in capitals."""
        dialect = self._engine.dialect
        return dialect.denormalize_name(name) if dialect.requires_name_normalize else name

    def _type(self, kind: sa.types.TypeEngine[Any]) -> dt.DataType:
        if self._kind == "sqlite" and isinstance(kind, sa.Date | sa.DateTime):
            return dt.string  # SQLite keeps days and times as text
        if isinstance(kind, sa.DateTime):
            return dt.Timestamp("UTC" if kind.timezone else None)
        return next((known for declared, known in _DECLARED if isinstance(kind, declared)), dt.unknown)


def _python_type(value: object) -> dt.DataType:
    if isinstance(value, datetime):
        return dt.Timestamp("UTC" if value.tzinfo else None)
    return next((known for kind, known in _PYTHON if isinstance(value, kind)), dt.unknown)
