"""Apache Spark: a local session or a standalone cluster; `pyspark` is imported here alone."""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import ibis.expr.datatypes as dt
import pyarrow as pa

from pipeline.collect.sources.base import BATCH_ROWS
from pipeline.collect.sources.sql.engine import MissingTableError, Relation
from pipeline.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Spark"]

_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""A local session listens to nobody else, and does not cut its work up for a cluster."""

_TYPES: dict[str, dt.DataType] = {
    "boolean": dt.boolean,
    "tinyint": dt.int64,
    "smallint": dt.int64,
    "int": dt.int64,
    "bigint": dt.int64,
    "float": dt.float64,
    "double": dt.float64,
    "date": dt.date,
    "timestamp": dt.Timestamp("UTC"),
    "timestamp_ntz": dt.timestamp,
    "string": dt.string,
}

_FINAL_STATES = ("0A", "21", "22", "42", "46")
"""SQLSTATE classes of what no retry will change: unsupported, cardinality, data, syntax or access, missing class."""


class Spark:
    """A Spark session; one that the process has already is used as it is.

    Spark hands over a result as a whole, so a long window is read in slices.
    """

    compiler = "databricks"  # the same dialect as Ibis' own for Spark, which cannot be had without loading its backend
    slice_days = 31

    def __init__(self, url: str) -> None:
        try:
            from py4j.protocol import Py4JError
            from pyspark.errors import PySparkException
        except ImportError as exc:
            msg = "A 'spark://' URL needs the package 'pyspark'; install Trendmill with the extra 'spark'."
            raise SourceError(msg) from exc
        self.errors: tuple[type[Exception], ...] = (PySparkException, Py4JError, ConnectionError)
        self._url = url
        self._opened: SparkSession | None = None

    def open(self) -> None:
        """Start a session, or take the one that this process has."""
        # It would log each failed statement with values from the data.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
        self._opened = _session(self._url)
        # Instants are seen in UTC, and a literal time has no zone: then a column is compared as it is.
        self._session.conf.set("spark.sql.session.timeZone", "UTC")
        self._session.conf.set("spark.sql.timestampType", "TIMESTAMP_NTZ")

    def columns(self, relation: Relation) -> Mapping[str, dt.DataType]:
        """Return the columns of a relation with their types."""
        from pyspark.errors import AnalysisException

        try:
            query = f"SELECT * FROM {relation.text(self.compiler)}"  # noqa: S608 - the market's own query
            found = self._session.sql(query).schema
        except AnalysisException as exc:
            if relation.query or exc.getCondition() != "TABLE_OR_VIEW_NOT_FOUND":
                raise
            raise MissingTableError(self._tables(relation.schema)) from exc
        return {field.name: _type(field.dataType.simpleString()) for field in found}

    def rows(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Yield a statement's result, which Spark hands over as a whole."""
        yield from self._session.sql(statement).toArrow().to_batches(BATCH_ROWS)

    def may_pass(self, error: Exception) -> bool:
        """Return whether Spark lost something on the way rather than refused the statement."""
        from pyspark.errors import PySparkException

        state = error.getSqlState() if isinstance(error, PySparkException) else None
        return not (state or "").startswith(_FINAL_STATES)

    def cause(self, error: Exception) -> str:
        """Return the first line of the error."""
        return next(iter(str(error).splitlines()), type(error).__name__)

    def close(self) -> None:
        """Leave the session: starting one takes seconds, and other feeds of this process will want it."""

    @property
    def _session(self) -> "SparkSession":
        if self._opened is None:
            msg = "the session is not open"
            raise RuntimeError(msg)
        return self._opened

    def _tables(self, schema: str | None) -> list[str]:
        found = self._session.sql(f"SHOW TABLES IN `{schema}`" if schema else "SHOW TABLES").collect()
        return sorted(row.tableName for row in found)


def _session(url: str) -> "SparkSession":
    """Return the session of a URL: `spark://local[4]?key=value`, `spark://host:7077`."""
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("trendmill")
    master, _, settings = url.removeprefix("spark://").partition("?")
    if master.startswith("local"):
        builder = builder.master("local[*]" if master == "local" else master)
        for key, value in _LOCAL.items():
            builder = builder.config(key, value)
    else:
        builder = builder.master(f"spark://{master}")
    for key, value in parse_qsl(settings):
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as exc:
        msg = f"Spark did not start ({exc.getCondition()}); check that Java 17 or newer is on PATH."
        raise SourceError(msg) from exc


def _type(name: str) -> dt.DataType:
    return dt.Decimal() if name.startswith("decimal") else _TYPES.get(name, dt.unknown)
