"""DuckDB, embedded: a database file, opened for reading only."""

from collections.abc import Iterator, Mapping

import duckdb
import ibis.expr.datatypes as dt
import pyarrow as pa
from ibis.backends.sql.datatypes import DuckDBType

from pipeline.collect.sources.base import BATCH_ROWS
from pipeline.collect.sources.sql.engine import MissingTableError, Relation

__all__ = ["Duck"]


class Duck:
    """A DuckDB file, or no file at all: then a query may read Parquet or CSV files by itself."""

    errors = (duckdb.Error,)
    compiler = "duckdb"
    slice_days = None

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._connection: duckdb.DuckDBPyConnection | None = None

    def open(self) -> None:
        """Open the file; nobody else may be writing to it."""
        self._connection = duckdb.connect(self._file, read_only=True) if self._file else duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")

    def columns(self, relation: Relation) -> Mapping[str, dt.DataType]:
        """Return the columns of a relation with their types."""
        try:
            found = self._run(f"FROM {relation.text(self.compiler)} LIMIT 0")
        except duckdb.CatalogException as exc:
            if relation.query:
                raise
            raise MissingTableError(self._tables(relation.schema)) from exc
        return {name: _type(str(kind)) for name, kind in zip(found.columns, found.types, strict=True)}

    def rows(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Yield a statement's result as it is worked out."""
        yield from self._run(statement).to_arrow_reader(BATCH_ROWS)

    def may_pass(self, error: Exception) -> bool:
        """Return whether another process holds the file."""
        return isinstance(error, duckdb.IOException) and "lock" in str(error)

    def cause(self, error: Exception) -> str:
        """Return the first line of the error."""
        return str(error).splitlines()[0]

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def _tables(self, schema: str | None) -> list[str]:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = $schema ORDER BY ALL"
        return [name for (name,) in self._run(query, schema=schema or "main").fetchall()]

    def _run(self, query: str, **parameters: str) -> duckdb.DuckDBPyRelation:
        if self._connection is None:
            msg = "the database is not open"
            raise RuntimeError(msg)
        return self._connection.sql(query, params=parameters or None)


def _type(name: str) -> dt.DataType:
    try:
        return DuckDBType.from_string(name)
    except Exception:  # noqa: BLE001 - SQLGlot and Ibis each have their own; a type nobody knows is no error yet
        return dt.unknown
