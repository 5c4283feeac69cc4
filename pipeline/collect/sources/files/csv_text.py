"""CSV as far as DuckDB needs help: what its header says, and encodings that DuckDB does not know."""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

__all__ = ["CsvHeader", "csv_header", "recoded_rows", "unique_names"]

_DELIMITERS = ",;\t|"
_BLOCK_BYTES = 4 * 2**20
_LONGEST_LINE = 2**20


@dataclass(frozen=True)
class CsvHeader:
    """The first line of a CSV file."""

    names: tuple[str, ...]
    delimiter: str
    """The one that the line has most of: rows that are broken cannot mislead it."""


def csv_header(file: Any, name: str, encoding: str) -> CsvHeader:  # noqa: ANN401 - whatever file objects a store has
    """Return the header of an open CSV file.

    Args:
        file: the file, open for reading bytes.
        name: the file's name, whose ending tells how it is compressed.
        encoding: a name that Python's codecs know.

    Raises:
        ValueError: if the file is empty, or its first line is not in this encoding.
    """
    # A byte order mark is no part of the first name.
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with io.TextIOWrapper(_decompressed(file, name), encoding, newline="") as text:
        first = text.readline(_LONGEST_LINE)
    if not first.strip():
        msg = "it is empty"
        raise ValueError(msg)
    delimiter = max(_DELIMITERS, key=first.count)
    return CsvHeader(unique_names(next(csv.reader([first], delimiter=delimiter))), delimiter)


def unique_names(cells: Iterable[str]) -> tuple[str, ...]:
    """Return a name for each cell of a header; a repeated or empty one gets its position behind it."""
    names: list[str] = []
    for position, cell in enumerate(cells, 1):
        names.append(cell if cell and cell not in names else f"{cell or 'column'}_{position}")
    return tuple(names)


def recoded_rows(opened: Callable[[], Any], name: str, encoding: str) -> pa.RecordBatchReader:
    """Return the rows of a CSV file as text, decoded by Python's codecs while they stream.

    Args:
        opened: opens the file for reading bytes.
        name: the file's name, whose ending tells how it is compressed.
        encoding: a name that Python's codecs know.
    """
    header = csv_header(opened(), name, encoding)
    return pa_csv.open_csv(
        _decompressed(opened(), name),
        pa_csv.ReadOptions(encoding=encoding, block_size=_BLOCK_BYTES, column_names=header.names, skip_rows=1),
        pa_csv.ParseOptions(delimiter=header.delimiter, newlines_in_values=True),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header.names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _decompressed(file: Any, name: str) -> pa.NativeFile:  # noqa: ANN401
    stream = file if isinstance(file, pa.NativeFile) else pa.PythonFile(file, "r")
    match name.lower().rsplit(".", 1)[-1]:
        case "gz":
            return pa.CompressedInputStream(stream, "gzip")
        case "zst":
            return pa.CompressedInputStream(stream, "zstd")
        case _:
            return stream
