"""Files as tables: those with the same columns are scanned together, workbooks and odd encodings are streamed."""

import codecs
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineWorkbook

from pipeline.collect.sources.files.csv_text import CsvHeader, csv_header, recoded_rows
from pipeline.collect.sources.files.faults import cause, is_about_line_ends, unanswered
from pipeline.collect.sources.files.location import SourceFile
from pipeline.collect.sources.files.sandbox import quoted_list
from pipeline.collect.sources.files.workbook import sheet_names, sheet_rows
from pipeline.errors import ConfigError, SourceError, SourceUnavailableError
from pipeline.sources import FilesSource

__all__ = ["Table", "Tables", "called"]

_HEADERS_AT_ONCE = 8
_ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "iso8859-1": "latin-1"}
"""Python's name -> DuckDB's, for the encodings that DuckDB reads by itself."""


@dataclass(frozen=True)
class Table:
    """Files, or a workbook's sheet, that are read as one table of known columns."""

    files: tuple[SourceFile, ...]
    columns: tuple[str, ...]
    rows: str | pa.RecordBatchReader | pa.Table
    """What DuckDB reads: a table function's call, or a stream that can be read once."""
    sheet: str | None = None

    @property
    def name(self) -> str:
        """The table's name for a message."""
        return called(self.files) + (f", sheet '{self.sheet}'" if self.sheet else "")

    def show(self, connection: duckdb.DuckDBPyConnection, view: str) -> None:
        """Make the table a view of this name."""
        if isinstance(self.rows, str):
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS FROM {self.rows}")
        else:
            connection.register(view, self.rows)


@dataclass(frozen=True)
class Tables:
    """How the files of one feed are opened."""

    settings: FilesSource
    market: str
    filesystem: Any
    """None for local files."""
    connection: duckdb.DuckDBPyConnection

    def of(self, files: Sequence[SourceFile]) -> Iterator[Table]:
        """Yield the files as tables, in their order; a table must be read before the next one is asked for.

        Raises:
            ConfigError: if nobody knows the encoding.
            SourceError: if a file is damaged or not what its ending says.
            SourceUnavailableError: if its store does not answer, or the file has vanished.
        """
        if not files:
            return
        if files[0].kind == "excel":
            for file in files:
                yield from self._sheets(file)
        elif files[0].kind == "csv" and self._encoding() not in _ENCODINGS:
            for file in files:
                yield self._recoded(file)
        else:
            yield from self._scanned(files)

    def show_all(self, files: Sequence[SourceFile], view: str) -> None:
        """Make all files one view, their columns united by name; a table that lacks one has nothing in it.

        A query may go over them more than once, so sheets and decoded files are kept in memory here.
        """
        parts = []
        for number, table in enumerate(self.of(files)):
            parts.append(f"{view}_{number}")
            rows = table.rows if isinstance(table.rows, str) else table.rows.read_all()
            replace(table, rows=rows).show(self.connection, parts[-1])
        united = " UNION ALL BY NAME ".join(f"FROM {part}" for part in parts)
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {united}")

    def _scanned(self, files: Sequence[SourceFile]) -> Iterator[Table]:
        """Yield a table for each set of columns, as the files' headers tell."""
        header = self._schema if files[0].kind == "parquet" else self._csv_header
        alike: dict[tuple[pa.Schema | CsvHeader, tuple[str, ...]], list[SourceFile]] = {}
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
            for file, found in zip(files, pool.map(header, files), strict=True):
                alike.setdefault((found, tuple(file.keys)), []).append(file)
        for (found, _), group in alike.items():
            rows = self._reader(group, found)
            try:
                columns = tuple(self.connection.sql(f"FROM {rows}").columns)
            except duckdb.Error as exc:
                raise self.fault(exc, group) from exc
            yield Table(tuple(group), columns, rows)

    def _reader(self, files: Sequence[SourceFile], header: pa.Schema | CsvHeader) -> str:
        paths = quoted_list(file.path for file in files)
        keys = f"hive_partitioning = {bool(files[0].keys)}, hive_types_autocast = false"
        if not isinstance(header, CsvHeader):
            return f"read_parquet({paths}, binary_as_string = true, {keys})"
        # Nothing is guessed: of a damaged file DuckDB's sniffer would rather skip the head, take rows for comments, or
        # leave quotes standing, than say that it is damaged.
        names = ", ".join("'" + name.replace("'", "''") + "': 'VARCHAR'" for name in header.names)
        return (
            f"read_csv({paths}, auto_detect = false, columns = {{{names}}}, header = true, skip = 0, comment = '', "
            f"delim = '{header.delimiter}', quote = '\"', escape = '\"', "
            f"encoding = '{_ENCODINGS[self._encoding()]}', {keys})"
        )

    def _schema(self, file: SourceFile) -> pa.Schema:
        try:
            with self._opened(file) as stream:
                return pq.read_schema(stream).remove_metadata()
        except Exception as exc:
            raise self.fault(exc, [file]) from exc

    def _csv_header(self, file: SourceFile) -> CsvHeader:
        try:
            return csv_header(self._opened(file), file.path, self._encoding())
        except Exception as exc:
            raise self.fault(exc, [file]) from exc

    def _recoded(self, file: SourceFile) -> Table:
        try:
            rows = recoded_rows(lambda: self._opened(file), file.path, self._encoding())
        except Exception as exc:
            raise self.fault(exc, [file]) from exc
        return Table((file,), tuple(rows.schema.names), rows)

    def _sheets(self, file: SourceFile) -> Iterator[Table]:
        wanted = None if self.settings.sheets == "all" else self.settings.sheets
        try:
            workbook = CalamineWorkbook.from_object(file.path if self.filesystem is None else self._opened(file))
            for name in sheet_names(workbook, wanted, f"The workbook '{file.name}' of the market '{self.market}'"):
                rows = sheet_rows(workbook, name)
                if rows is not None:
                    yield Table((file,), tuple(rows.schema.names), rows, name)
        except (CalamineError, OSError) as exc:
            raise self.fault(exc, [file]) from exc

    def _opened(self, file: SourceFile) -> Any:  # noqa: ANN401 - whatever file objects the store has
        return pa.OSFile(file.path) if self.filesystem is None else self.filesystem.open(file.path, "rb")

    def _encoding(self) -> str:
        try:
            return codecs.lookup(self.settings.encoding).name
        except LookupError as exc:
            msg = f"Nobody knows the encoding '{self.settings.encoding}'; name one that Python does, such as cp1252."
            raise ConfigError(msg) from exc

    def fault(self, exc: Exception, files: Sequence[SourceFile]) -> SourceError:
        """Return the error for files that are there, but cannot be read."""
        name = f"The file {called(files)} of the market '{self.market}'"
        gone = [file for file in files if self.filesystem is None and not Path(file.path).exists()]
        if gone:
            msg = f"The file {called(gone)} of the market '{self.market}' has vanished while it was read; try again."
            return SourceUnavailableError(msg)
        if self.filesystem is not None and not _is_about_content(exc):
            return unanswered(exc, name)
        hint = (
            f" (it was read as {self.settings.encoding}: set `encoding` if it is another)"
            if _is_about_text(exc)
            else ""
        )
        way_out = "write it with one kind of line ending" if is_about_line_ends(exc) else "put a whole one in its place"
        return SourceError(f"{name} cannot be read: {cause(exc)}{hint}; {way_out}.")


def called(files: Sequence[SourceFile]) -> str:
    """Return the files' name for a message."""
    return f"'{files[0].name}'" + (f" (or one of {len(files) - 1} like it)" if len(files) > 1 else "")


def _is_about_content(exc: Exception) -> bool:
    """Return whether a remote file's bytes were wrong, and not the way to them."""
    if isinstance(exc, duckdb.Error):
        return "Traceback" not in str(exc)
    # What Arrow finds damaged it reports as an OSError without a number.
    return isinstance(exc, (pa.ArrowException, CalamineError, ValueError)) or (type(exc) is OSError and not exc.errno)


def _is_about_text(exc: Exception) -> bool:
    return isinstance(exc, UnicodeError) or any(word in str(exc) for word in ("unicode", "encoded", "codec", "UTF"))
