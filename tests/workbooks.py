"""Excel workbooks for tests, written cell by cell as the format asks: no library that writes them is needed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

__all__ = ["write_workbook"]

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel's days have no zone
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1">'
    '<border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf numFmtId="0"/>'
    '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>'
)

Cell = str | float | bool | date | datetime | None


def write_workbook(file: Path, sheets: Mapping[str, Iterable[Sequence[Cell]]]) -> Path:
    """Write an .xlsx with these sheets, the first row of each being its header."""
    with ZipFile(file, "w", ZIP_DEFLATED) as package:
        numbers = range(1, len(sheets) + 1)
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="application/vnd.openxmlformats-'
            'officedocument.spreadsheetml.worksheet+xml"/>'
            for number in numbers
        )
        package.writestr(
            "[Content_Types].xml",
            f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.'
            'openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>'
            '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'spreadsheetml.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.'
            f'openxmlformats-officedocument.spreadsheetml.styles+xml"/>{parts}</Types>',
        )
        package.writestr("_rels/.rels", _relationships([("rId1", "officeDocument", "xl/workbook.xml")]))
        package.writestr("xl/styles.xml", _HEAD + _STYLES)
        listed = "".join(
            f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
            for number, name in zip(numbers, sheets, strict=True)
        )
        package.writestr(
            "xl/workbook.xml",
            f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{listed}</sheets></workbook>',
        )
        links = [(f"rId{number}", "worksheet", f"worksheets/sheet{number}.xml") for number in numbers]
        package.writestr(
            "xl/_rels/workbook.xml.rels", _relationships([*links, (f"rId{len(links) + 1}", "styles", "styles.xml")])
        )
        for number, rows in zip(numbers, sheets.values(), strict=True):
            with package.open(f"xl/worksheets/sheet{number}.xml", "w") as sheet:
                sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                for row, cells in enumerate(rows, 1):
                    texts = (_cell(f"{_letters(column)}{row}", cell) for column, cell in enumerate(cells))
                    sheet.write(f'<row r="{row}">{"".join(texts)}</row>'.encode())
                sheet.write(b"</sheetData></worksheet>")
    return file


def _relationships(links: Iterable[tuple[str, str, str]]) -> str:
    found = "".join(f'<Relationship Id="{id_}" Type="{_LINKS}/{kind}" Target="{to}"/>' for id_, kind, to in links)
    return f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">{found}</Relationships>'


def _cell(place: str, cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return f'<c r="{place}" t="b"><v>{int(cell)}</v></c>'
        case int() | float():
            return f'<c r="{place}"><v>{cell!r}</v></c>'
        case date():
            moment = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001
            return f'<c r="{place}" s="1"><v>{(moment - _FIRST_DAY).total_seconds() / 86_400!r}</v></c>'
        case _:
            return f'<c r="{place}" t="inlineStr"><is><t>{escape(str(cell))}</t></is></c>'


def _letters(column: int) -> str:
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
