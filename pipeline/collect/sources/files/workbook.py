"""Excel workbooks: a sheet at a time, its cells as text in Arrow batches."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from python_calamine import CalamineSheet, CalamineWorkbook, SheetTypeEnum

from pipeline.collect.sources.files.csv_text import unique_names
from pipeline.errors import SourceError

__all__ = ["SHEET", "sheet_names", "sheet_rows"]

SHEET = "sheet"
"""The column that says in which sheet a row stood."""

_CHUNK_ROWS = 65_536


def sheet_names(workbook: CalamineWorkbook, wanted: tuple[str, ...] | None, whose: str) -> list[str]:
    """Return the names of the sheets to read: the wanted ones, or all.

    Raises:
        SourceError: if the workbook lacks a wanted sheet.
    """
    names = [sheet.name for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    for name in wanted or ():
        if name not in names:
            msg = f"{whose} has no sheet '{name}'; it has {', '.join(names)}; name those in `sheets`."
            raise SourceError(msg)
    return list(wanted or names)


def sheet_rows(workbook: CalamineWorkbook, name: str) -> pa.RecordBatchReader | None:
    """Return a sheet's rows below its header, which is the first row that is not empty; None for an empty sheet.

    Cells become the text that CSV would have: whole numbers without decimals, days and times in ISO's order, nothing
    where a cell is empty or holds an error. So a column that mixes numbers and text loses neither.
    """
    rows = _filled_rows(workbook.get_sheet_by_name(name))
    header = next(rows, None)
    if header is None:
        return None
    names = unique_names(_text(cell) or "" for cell in header)
    schema = pa.schema(
        [*((column, pa.string()) for column in names), *(() if SHEET in names else ((SHEET, pa.string()),))]
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(rows, schema, len(names), name))


def _batches(rows: Iterator[list[Any]], schema: pa.Schema, width: int, sheet: str) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        columns = [_texts(cells) for cells in islice(zip(*chunk, strict=True), width)]
        if len(schema) > width:
            columns.append(pa.repeat(pa.scalar(sheet), len(chunk)))
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _filled_rows(sheet: CalamineSheet) -> Iterator[list[Any]]:
    return (row for row in sheet.iter_rows() if any(cell != "" for cell in row))


def _texts(cells: tuple[Any, ...]) -> pa.Array:
    """Return a column's cells as text `[N]`; columns of one type take the fast way."""
    kinds = set(map(type, cells))
    if kinds == {str}:
        texts = pa.array(cells, pa.string())
        return pc.if_else(pc.equal(texts, ""), None, texts)
    if kinds == {datetime}:
        # Excel's days are floating numbers: a time is as exact as a millisecond.
        return pa.array(cells, pa.timestamp("us")).cast(pa.string())
    return pa.array(map(_text, cells), pa.string())


def _text(cell: Any) -> str | None:  # noqa: ANN401 - a cell holds anything
    match cell:
        case "":
            return None
        case bool():
            return str(cell).lower()
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime():
            return cell.isoformat(" ")
        case date():
            return cell.isoformat()
        case _:
            return str(cell)
