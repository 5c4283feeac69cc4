"""CSV and Parquet files: one file, a folder or a glob."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.collect.sources.base import BATCH_ROWS, Window
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market
from pipeline.sources import FilesSource

__all__ = ["Files"]

_READERS = {
    ".parquet": "read_parquet($paths, union_by_name = true)",
    ".csv": "read_csv($paths, union_by_name = true, all_varchar = true, header = true)",
}
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
}


class Files:
    """A feed kept in files, with its columns named as the market's YAML says.

    Values that cannot be read as their column's type are landed as missing, for the gate to judge.
    """

    def __init__(self, settings: FilesSource, market: Market) -> None:
        self._path = settings.path
        self._columns = settings.columns
        self._base = market.file.parent
        self._market = market.name

    def grain(self, feed: Feed) -> Grain:
        """Return `lines` where the files carry the key of a raw line, else `facts`.

        Raises:
            ConfigError: if the market maps a column that the feed does not have.
        """
        columns = set(feed.schema.names) | set(feed.lines.names if feed.lines else ())
        for column in self._columns:
            if column not in columns:
                msg = (
                    f"feeds.{feed.name}.columns of the market '{self._market}' names '{column}', which is no column of "
                    f"that feed; it has {', '.join(sorted(columns))}."
                )
                raise ConfigError(msg)
        with duckdb.connect() as connection:
            found = self._found(connection)
        is_lines = feed.lines is not None and {self._name(column) for column in feed.line_marks} <= set(found)
        return "lines" if is_lines else "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows of the window; rows whose day cannot be read come with the first window alone.

        Raises:
            SourceError: if there is no such file, it cannot be read, or a required column is absent.
        """
        schema = feed.landed_schema(self.grain(feed))
        with duckdb.connect() as connection:
            columns = ", ".join(self._expressions(feed, schema, self._found(connection)))
            wanted = f"WHERE {feed.day} BETWEEN $since AND $until" if feed.day else ""
            if feed.day and window.whole:
                wanted += f" OR {feed.day} IS NULL"
            days = {"since": window.since, "until": window.until} if feed.day else {}
            paths, reader = self._reader()
            query = f"WITH landed AS (SELECT {columns} FROM {reader}) FROM landed {wanted}"  # noqa: S608 - contract names
            try:
                relation = connection.sql(query, params={"paths": paths} | days)
                for batch in relation.to_arrow_reader(BATCH_ROWS):
                    yield batch.cast(pa.schema([column.with_nullable(nullable=True) for column in schema]))
            except (duckdb.Error, pa.ArrowInvalid) as exc:
                raise self._unreadable(exc) from exc

    def _expressions(self, feed: Feed, schema: pa.Schema, found: list[str]) -> Iterator[str]:
        for column in schema:
            name = self._name(column.name)
            if name in found:
                yield f'TRY_CAST("{name}" AS {_SQL_TYPES[column.type]}) AS "{column.name}"'
            elif column.name in feed.defaults:
                yield f"'{feed.defaults[column.name]}' AS \"{column.name}\""
            elif column.nullable:
                yield f'CAST(NULL AS {_SQL_TYPES[column.type]}) AS "{column.name}"'
            else:
                msg = (
                    f"The files of the feed '{feed.name}' ({self._path}) lack the column '{name}'; they have "
                    f"{', '.join(found)}. Add it, or map it under feeds.{feed.name}.columns in the market's file."
                )
                raise SourceError(msg)

    def _found(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        paths, reader = self._reader()
        try:
            return connection.sql(f"FROM {reader} LIMIT 0", params={"paths": paths}).columns
        except duckdb.Error as exc:
            raise self._unreadable(exc) from exc

    def _reader(self) -> tuple[list[str], str]:
        paths = self._paths()
        readers = {_READERS.get(path.suffix.lower()) for path in paths}
        reader = readers.pop()
        if readers or reader is None:
            msg = (
                f"'{self._path}' must name files of one kind, .csv or .parquet; found {', '.join(map(str, paths[:3]))}."
            )
            raise SourceError(msg)
        return [str(path) for path in paths], reader

    def _paths(self) -> list[Path]:
        path = self._base / self._path
        if path.is_dir():
            found = [file for file in path.iterdir() if file.suffix.lower() in _READERS]
        elif path.is_file():
            found = [path]
        else:
            found = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            msg = f"The market '{self._market}' reads '{self._path}', but there is no such file beside it ({path})."
            raise SourceError(msg)
        return sorted(found)

    def _name(self, column: str) -> str:
        return self._columns.get(column, column)

    def _unreadable(self, exc: Exception) -> SourceError:
        cause = str(exc).splitlines()[0]
        return SourceError(f"The files '{self._path}' of the market '{self._market}' cannot be read: {cause}")
