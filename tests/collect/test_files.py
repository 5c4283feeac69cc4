"""Files: every kind and every place gives the same rows, SQL stays in its sandbox, and each fault is one sentence."""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import collect
from pipeline.collect.sources import Window, open_source
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, SourceError, SourceUnavailableError
from pipeline.feeds import FEEDS
from tests.conftest import small_market_settings
from tests.servers import s3, s3_server
from tests.workbooks import write_workbook

__all__ = ["s3", "s3_server"]

AS_OF = date(2021, 1, 10)
LINES = [
    ("o1", "A1", "2021-01-04", "2", "5.0", "kunigunde"),
    ("o1", "B2", "2021-01-04", "1", "3.5", "kunigunde"),
    ("o2", "A1", "2021-01-09", "-1", "-2.5", "bob"),
    ("o3", "Tür", "2021-01-10", "4", "10.0", "cem"),
    ("o4", "A1", "2021-01-11", "7", "17.5", "dee"),
]
NAMES = ("order_id", "item", "date", "units", "revenue", "customer")
EXPECTED = [
    (order, item, date.fromisoformat(day), float(units), float(revenue), who)
    for order, item, day, units, revenue, who in LINES[:4]
]
"""What lands of them as of `AS_OF`."""

Opener = Callable[..., Cycle]


@pytest.fixture
def opened(folder: Path, home: Home) -> Opener:
    """Return a function that gives the cycle of a market whose sales are in files, with these settings."""

    def cycle(path: str, feed: str = "sales", **settings: Any) -> Cycle:
        feeds = {"sales": {"source": "files", "path": "shop.csv" if feed != "sales" else path}}
        feeds[feed] = {"source": "files", "path": path} | settings
        file = folder / "small.yaml"
        file.write_text(yaml.safe_dump(small_market_settings() | {"feeds": feeds}), encoding="utf-8")
        return open_cycle(file, AS_OF, home)

    return cycle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder in which the market's file will lie."""
    (tmp_path / "market").mkdir()
    return tmp_path / "market"


def csv_bytes(rows: list[tuple[Any, ...]] = LINES, names: tuple[str, ...] = NAMES, delimiter: str = ",") -> bytes:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in [names, *rows]).encode()


def table(rows: list[tuple[Any, ...]] = LINES) -> pa.Table:
    frame = pd.DataFrame(rows, columns=list(NAMES)).astype({"units": int, "revenue": float})
    return pa.Table.from_pandas(frame.assign(date=pd.to_datetime(frame["date"])), preserve_index=False)


def landed(cycle: Cycle, feed: str = "sales", columns: tuple[str, ...] = NAMES) -> list[tuple[Any, ...]]:
    collect.run(cycle, feed)
    rows = collect.landed(cycle, feed).read().select(list(columns)).to_pylist()
    return [tuple(row.values()) for row in rows]


def refused(cycle: Cycle, kind: type[SourceError | ConfigError] = SourceError) -> str:
    """Return the sentence with which the sales are refused, having seen that nothing has landed."""
    before = sorted(cycle.home.landing.rglob("*.*"))
    with pytest.raises(kind) as caught:
        collect.run(cycle, "sales")
    assert type(caught.value) is kind
    assert sorted(cycle.home.landing.rglob("*.*")) == before
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def write_csv(folder: Path) -> str:
    (folder / "shop.csv").write_bytes(csv_bytes())
    return "shop.csv"


def write_csv_gz(folder: Path) -> str:
    (folder / "shop.csv.gz").write_bytes(gzip.compress(csv_bytes()))
    return "shop.csv.gz"


def write_semicolons(folder: Path) -> str:
    (folder / "shop.csv").write_bytes(b"\xef\xbb\xbf" + csv_bytes(delimiter=";"))
    return "shop.csv"


def write_tsv(folder: Path) -> str:
    (folder / "shop.tsv").write_bytes(csv_bytes(delimiter="\t"))
    return "shop.tsv"


def write_parquet(folder: Path) -> str:
    pq.write_table(table(), folder / "shop.parquet")
    return "shop.parquet"


def write_excel(folder: Path) -> str:
    rows = [(o, i, date.fromisoformat(d), int(u), float(r), c) for o, i, d, u, r, c in LINES]
    write_workbook(folder / "shop.xlsx", {"May": [NAMES, *rows[:2]], "Empty": [], "June": [NAMES, *rows[2:]]})
    return "shop.xlsx"


def write_folder(folder: Path) -> str:
    for number, row in enumerate(LINES):
        part = folder / "parts" / f"sub{number % 2}" / f"{number}.csv"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(csv_bytes([row]))
    (folder / "parts" / "_SUCCESS").write_text("")
    (folder / "parts" / ".hidden.csv").write_text("not,data\n")
    return "parts"


def write_glob(folder: Path) -> str:
    for number, row in enumerate(LINES):
        pq.write_table(table([row]), folder / f"it's ({number}).parquet")
    return "it's*.parquet"


def write_partitions(folder: Path) -> str:
    for row in LINES:
        part = folder / "parts" / f"date={row[2]}" / "rows.csv"
        part.parent.mkdir(parents=True, exist_ok=True)
        rows = [(line[:2] + line[3:]) for line in LINES if line[2] == row[2]]
        part.write_bytes(csv_bytes(rows, NAMES[:2] + NAMES[3:]))
    return "parts"


WRITERS = [
    write_csv,
    write_csv_gz,
    write_semicolons,
    write_tsv,
    write_parquet,
    write_excel,
    write_folder,
    write_glob,
    write_partitions,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_file_lands_the_same_rows(folder: Path, opened: Opener, write: Callable[[Path], str]) -> None:
    assert sorted(landed(opened(write(folder)))) == sorted(EXPECTED)


@pytest.mark.parametrize(
    "write",
    [write_parquet, *(pytest.param(f, marks=pytest.mark.slow) for f in (write_csv_gz, write_excel, write_partitions))],
    ids=lambda write: write.__name__,
)
def test_object_store_lands_the_same_rows(folder: Path, opened: Opener, s3: str, write: Callable[[Path], str]) -> None:
    name = write(folder)
    fsspec.filesystem("s3").put(str(folder / name), f"{s3}/in/{name}", recursive=True)
    assert sorted(landed(opened(f"{s3}/in/{name}"))) == sorted(EXPECTED)
    glob = f"{s3}/in/parts/*/*.csv" if name == "parts" else f"{s3}/*/{name}"
    assert sorted(landed(opened(glob))) == sorted(EXPECTED)


def test_memory_and_web_land_the_same_rows(folder: Path, opened: Opener) -> None:
    write_parquet(folder)
    MemoryFileSystem().pipe("/shop/shop.parquet", (folder / "shop.parquet").read_bytes())
    assert landed(opened("memory://shop/shop.parquet")) == EXPECTED
    with web_server(folder) as url:
        assert landed(opened(f"{url}/shop.parquet")) == EXPECTED
        assert "no such file" in refused(opened(f"{url}/none.parquet"))


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    class Ranges(SimpleHTTPRequestHandler):
        """Like web servers, and unlike the standard library's, it gives parts of files."""

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted is None or not (folder / self.path[1:]).is_file():
                super().do_GET()
                return
            first, last = map(int, wanted.groups())
            data = (folder / self.path[1:]).read_bytes()
            part = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(part)

    with served(partial(Ranges, directory=str(folder))) as url:
        yield url


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_columns_may_be_names_with_spaces_and_expressions(folder: Path, opened: Opener) -> None:
    rows = [("o1", " a1 ", "04/01/2021", "1.000", "2,50", "x"), ("o2", "b2", "31/02/2021", "1", "0,5", "x")]
    names = ("Order No", "StockCode", "Sold on", "Quantity", "Price", "Customer ID")
    (folder / "shop.csv").write_bytes(csv_bytes(rows, names, ";"))
    cycle = opened(
        "shop.csv",
        columns={
            "order_id": "Order No",
            "item": "upper(trim(StockCode))",
            "date": "strptime(\"Sold on\", '%d/%m/%Y')",
            "units": "replace(Quantity, '.', '')",
            "revenue": "replace(Quantity, '.', '')::DOUBLE * replace(Price, ',', '.')::DOUBLE",
            "customer": "Customer ID",
        },
    )
    assert landed(cycle) == [
        ("o1", "A1", date(2021, 1, 4), 1000.0, 2500.0, "x"),
        ("o2", "B2", None, 1.0, 0.5, "x"),
    ]


def test_where_leaves_rows_out(folder: Path, opened: Opener) -> None:
    assert landed(opened(write_csv(folder), where="units::INT > 0 AND item LIKE 'A%'")) == EXPECTED[:1]


def test_values_of_another_type_land_as_missing(folder: Path, opened: Opener) -> None:
    rows = [("o1", "A1", "2021-01-04", "two", "1e3", "x"), ("o2", "A1", "some day", "2", "", "x")]
    (folder / "shop.csv").write_bytes(csv_bytes(rows))
    assert landed(opened("shop.csv")) == [
        ("o1", "A1", date(2021, 1, 4), None, 1000.0, "x"),
        ("o2", "A1", None, 2.0, None, "x"),
    ]


def write_days(folder: Path, kind: str, days: list[str | None]) -> str:
    """Write the lines with these days, as text or as what a Parquet file may have instead."""
    frame = pd.DataFrame(LINES[: len(days)], columns=list(NAMES)).assign(date=days)
    if kind == "csv":
        frame.to_csv(folder / "shop.csv", index=False)
        return "shop.csv"
    column = pa.array([None if day == "some day" else day for day in days])
    if kind != "text":
        column = column.cast(pa.date32() if kind == "date" else pa.timestamp("us"))
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(rows.set_column(2, "date", column), folder / "shop.parquet", row_group_size=1)
    return "shop.parquet"


@pytest.mark.parametrize("kind", ["csv", "date", "time", "text"])
@pytest.mark.parametrize(
    "settings", [{}, {"columns": {"date": "date::VARCHAR"}}, {"query": "SELECT * FROM files"}], ids=repr
)
def test_rows_without_a_day_come_with_every_window(
    folder: Path, opened: Opener, kind: str, settings: dict[str, Any]
) -> None:
    market = opened(write_days(folder, kind, ["2021-01-04", None, "2021-01-09", "some day"]), **settings).market
    window = Window(date(2021, 1, 8), AS_OF, AS_OF)
    batches = open_source(market.feed("sales"), market).fetch(FEEDS["sales"], window)
    rows = [row for batch in batches for row in batch.select(["order_id", "date"]).to_pylist()]
    assert sorted((row["order_id"], row["date"]) for row in rows if row["date"]) == [("o2", date(2021, 1, 9))]
    assert sorted(row["order_id"] for row in rows if not row["date"]) == ["o1", "o3"]


def test_codes_keep_their_leading_zeros_and_quotes_are_those_of_the_standard(folder: Path, opened: Opener) -> None:
    plain = [(f"o{number}", "007", "2021-01-04", "1", "1", "x") for number in range(30_000)]
    (folder / "shop.csv").write_bytes(csv_bytes(plain) + b'o9,"Box, 7"" wide",2021-01-05,1,1,x\n')
    items = {item for _, item, *_ in landed(opened("shop.csv"))}
    assert items == {"007", 'Box, 7" wide'}


def test_query_aggregates_what_it_is_asked_to(folder: Path, opened: Opener) -> None:
    write_csv(folder)
    for write in (write_parquet, write_folder, write_excel):
        query = """
            SELECT item, date::DATE AS date, max(revenue::DOUBLE / units::DOUBLE) AS price, 'gone' AS surplus
            FROM files WHERE date::DATE BETWEEN $since AND $as_of GROUP BY ALL;
        """
        cycle = opened(write(folder), "prices", query=query)
        assert sorted(landed(cycle, "prices", ("item", "location", "date", "list_price", "price"))) == [
            ("A1", "all", date(2021, 1, 4), None, 2.5),
            ("A1", "all", date(2021, 1, 9), None, 2.5),
            ("B2", "all", date(2021, 1, 4), None, 3.5),
            ("Tür", "all", date(2021, 1, 10), None, 2.5),
        ]


def test_events_without_a_date_are_about_the_day_of_their_time_in_the_market(folder: Path, opened: Opener) -> None:
    write_csv(folder)
    late = datetime(2021, 1, 4, 23, 30, tzinfo=ZoneInfo("America/New_York"))
    pq.write_table(
        pa.table({"ts": pa.array([late], pa.timestamp("us", "UTC")), "event": ["view"], "item": ["A1"]}),
        folder / "events.parquet",
    )
    cycle = opened("events.parquet", "behaviour", columns={"timestamp": "ts"})
    rows = landed(cycle, "behaviour", ("item", "date", "timestamp", "event"))
    assert rows == [("A1", date(2021, 1, 5), datetime(2021, 1, 5, 4, 30), "view")]  # noqa: DTZ001


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "gbk", "utf-8-sig"])
def test_other_encodings_are_read_when_told(folder: Path, opened: Opener, encoding: str) -> None:
    (folder / "shop.csv").write_bytes(csv_bytes(delimiter=";").decode().replace("Tür", "Tür").encode(encoding))
    assert landed(opened("shop.csv", encoding=encoding)) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "ascii", "shift_jis"])
def test_wrong_encoding_is_told(folder: Path, opened: Opener, encoding: str) -> None:
    (folder / "shop.csv").write_bytes(csv_bytes().decode().encode("cp1252") + b"o9,\x81\x8d,2021-01-05,1,1,kunigunde\n")
    message = refused(opened("shop.csv", encoding=encoding))
    assert "'shop.csv' of the market 'small' cannot be read" in message
    assert f"read as {encoding}" in message
    assert "kunigunde" not in message


def test_sheets_can_be_chosen_and_tell_rows_apart(folder: Path, opened: Opener) -> None:
    write_excel(folder)
    assert landed(opened("shop.xlsx", sheets=["May"])) == EXPECTED[:2]
    assert landed(opened("shop.xlsx", where="sheet <> 'May'")) == EXPECTED[2:]
    assert "has no sheet 'July'; it has May, Empty, June" in refused(opened("shop.xlsx", sheets=["July"]))


def test_cells_of_mixed_types_lose_nothing(folder: Path, opened: Opener) -> None:
    rows = [
        (None,) * 6,
        NAMES,
        (489434, 85048, datetime(2021, 1, 4, 7, 45), 12.0, 83.4, 13085.0),  # noqa: DTZ001
        (None,) * 6,
        ("C489449", "79323P", datetime(2021, 1, 5), -1, 0.1 + 0.2, None),  # noqa: DTZ001
    ]
    write_workbook(folder / "shop.xlsx", {"Sheet1": rows})
    assert landed(opened("shop.xlsx")) == [
        ("489434", "85048", date(2021, 1, 4), 12.0, 83.4, "13085"),
        ("C489449", "79323P", date(2021, 1, 5), -1.0, 0.1 + 0.2, None),
    ]


def test_path_may_come_from_the_environment(folder: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(folder)
    assert landed(opened("${SHOP_FILES:-shop.csv}")) == EXPECTED
    assert "environment variable SHOP_FILES is not set" in refused(opened("${SHOP_FILES}/shop.csv"), ConfigError)
    monkeypatch.setenv("SHOP_FILES", str(folder))
    assert landed(opened("${SHOP_FILES}/shop.csv")) == EXPECTED


def test_files_of_other_days_are_not_opened_where_folders_name_the_day(folder: Path, opened: Opener) -> None:
    write_partitions(folder)
    (folder / "parts" / "date=2021-01-11" / "rows.csv").write_bytes(os.urandom(1000))
    (folder / "parts" / "date=2021-01-12").mkdir()
    (folder / "parts" / "date=2021-01-12" / "rows.csv").write_bytes(csv_bytes([], NAMES[:2] + NAMES[3:]))
    assert sorted(landed(opened("parts"))) == sorted(EXPECTED)
    by_parts = {"date": "make_date(year::INT, month::INT, day::INT)"}
    for row in LINES[:4]:
        year, month, day = row[2].split("-")
        part = folder / "ymd" / f"year={year}" / f"month={month}" / f"day={day}" / "rows.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table([line for line in LINES if line[2] == row[2]]).drop_columns(["date"]), part)
    broken = folder / "ymd" / "year=2021" / "month=01" / "day=02" / "rows.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"broken, but before the market's history")
    assert sorted(landed(opened("ymd", columns=by_parts))) == sorted(EXPECTED)


# Schema drift


def test_new_column_is_ignored_and_optional_one_may_come_later(folder: Path, opened: Opener) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "1.csv").write_bytes(csv_bytes([row[:4] + row[5:] for row in LINES[:2]], NAMES[:4] + NAMES[5:]))
    (folder / "parts" / "2.csv").write_bytes(csv_bytes([(*row, "new") for row in LINES[2:]], (*NAMES, "new")))
    without = [(*row[:4], None, *row[5:]) for row in EXPECTED[:2]]
    for mapped in ({}, {"revenue": "revenue"}, {"revenue": "revenue::DOUBLE * 1"}):
        assert landed(opened("parts", columns=mapped)) == without + EXPECTED[2:]


def test_required_column_that_one_file_lacks_is_named_with_the_file(folder: Path, opened: Opener) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "1.csv").write_bytes(csv_bytes(LINES[:2]))
    (folder / "parts" / "2.csv").write_bytes(csv_bytes(LINES[2:], (*NAMES[:3], "pieces", *NAMES[4:])))
    message = refused(opened("parts"))
    assert "'parts/2.csv'" in message
    assert "lack the column 'units'; they have order_id, item, date, pieces" in message


def test_mapped_column_that_no_file_has_is_named(folder: Path, opened: Opener) -> None:
    message = refused(opened(write_csv(folder), columns={"revenue": "turnover"}))
    assert "feeds.sales.columns.revenue of the market 'small' is `turnover`" in message


def test_retyped_column_lands_as_missing_values(folder: Path, opened: Opener) -> None:
    (folder / "parts").mkdir()
    pq.write_table(table(LINES[:2]), folder / "parts" / "1.parquet")
    retyped = table(LINES[2:]).drop_columns(["units"]).append_column("units", pa.array(["few", "4", "7"]))
    pq.write_table(retyped, folder / "parts" / "2.parquet")
    assert [row[3] for row in landed(opened("parts"))] == [2.0, 1.0, None, 4.0]


# Faults


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def scrambled(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:20] + bytes(byte ^ 0xA5 for byte in data[20:middle]) + data[middle:]


@pytest.mark.parametrize("write", [write_csv, write_csv_gz, write_parquet, write_excel], ids=lambda f: f.__name__)
@pytest.mark.parametrize("damage", [cut, scrambled, lambda _: b"", lambda _: b"\x00\xff" * 400])
@pytest.mark.parametrize("place", ["", "memory://damaged/"])
def test_damaged_files_are_refused(
    folder: Path, opened: Opener, write: Callable[[Path], str], damage: Callable[[bytes], bytes], place: str
) -> None:
    name = write(folder)
    data = damage((folder / name).read_bytes())
    (folder / name).write_bytes(data)
    MemoryFileSystem().pipe(f"/damaged/{name}", data)
    message = refused(opened(f"{place}{name}"))
    assert name in message
    assert "kunigunde" not in message


def test_damaged_pages_of_a_parquet_file_are_refused(folder: Path, opened: Opener) -> None:
    many = [(f"o{number}", f"item {number % 977}", "2021-01-04", "1", "2.5", f"c{number}") for number in range(50_000)]
    pq.write_table(table(many), folder / "shop.parquet", compression="snappy")
    data = bytearray((folder / "shop.parquet").read_bytes())
    data[1000:60_000] = os.urandom(59_000)
    (folder / "shop.parquet").write_bytes(data)
    assert "'shop.parquet' of the market 'small' cannot be read" in refused(opened("shop.parquet"))


@pytest.mark.parametrize(
    "ends", [[b"\n", b"\r\n"], [b"\r\n", b"\n"], [b"\r", b"\n"], [b"\n", b"\r\r\n"], [b"\n", b"stray\rreturn\n"]]
)
def test_lines_that_end_in_different_ways_are_told(folder: Path, opened: Opener, ends: list[bytes]) -> None:
    lines = csv_bytes().splitlines()
    (folder / "shop.csv").write_bytes(b"".join(line + ends[number % 2] for number, line in enumerate(lines)))
    told = refused(opened("shop.csv"))
    assert told.startswith("The file 'shop.csv' of the market 'small' cannot be read: its lines do not all end alike")
    assert told.endswith("; write it with one kind of line ending.")


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_lines_of_other_systems_are_read(folder: Path, opened: Opener, end: bytes) -> None:
    (folder / "shop.csv").write_bytes(csv_bytes().replace(b"\n", end))
    assert landed(opened("shop.csv")) == EXPECTED


def test_broken_row_is_told_by_its_line_and_not_by_its_words(folder: Path, opened: Opener) -> None:
    (folder / "shop.csv").write_bytes(csv_bytes() + b"o9,A1,2021-01-05,1,1,secret-person,surplus\n")
    message = refused(opened("shop.csv"))
    assert "line: 7" in message
    assert "Expected Number of Columns: 6 Found: 7" in message
    assert "secret" not in message


def test_file_without_a_header_is_told_without_its_words(folder: Path, opened: Opener) -> None:
    (folder / "shop.csv").write_bytes(csv_bytes(LINES[1:], LINES[0]))
    message = refused(opened("shop.csv"))
    assert "their first line looks like data" in message
    assert "kunigunde" not in message


def test_empty_folder_and_mixed_kinds_are_refused(folder: Path, opened: Opener) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "readme.md").write_text("nothing here")
    assert "reads 'parts', but there is no such file beside it" in refused(opened("parts"))
    write_csv(folder / "parts")
    write_parquet(folder / "parts")
    assert "files of one kind" in refused(opened("parts"))


class Vanishing(MemoryFileSystem):
    """A store whose last file is listed, and gone when it is opened; one in `locked/` may be opened by nobody."""

    protocol = "vanishing"
    store = MemoryFileSystem.store

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("vanishing://"))

    def _open(self, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("2.csv"):
            raise FileNotFoundError(path)
        if "locked" in path:
            raise PermissionError(13, "Forbidden")
        return super()._open(path, *args, **options)


@pytest.fixture
def vanishing() -> None:
    fsspec.register_implementation("vanishing", Vanishing, clobber=True)


@pytest.mark.usefixtures("vanishing")
def test_file_that_vanishes_while_it_is_read_may_be_tried_again(opened: Opener) -> None:
    for number in (1, 2):
        MemoryFileSystem().pipe(f"/gone/{number}.csv", csv_bytes())
    message = refused(opened("vanishing://gone/*.csv", columns={"order_id": "order_id"}), SourceUnavailableError)
    assert "2.csv" in message


@pytest.mark.usefixtures("vanishing")
def test_file_that_nobody_may_open_is_refused_for_good(opened: Opener) -> None:
    MemoryFileSystem().pipe("/locked/1.csv", csv_bytes())
    assert "must not be read with the credentials" in refused(opened("vanishing://locked/1.csv"))


def test_bucket_that_does_not_exist_is_named(opened: Opener, s3: str) -> None:
    assert "s3://no-such-bucket-here/a.csv" in refused(opened("s3://no-such-bucket-here/a.csv"))
    assert "no such file" in refused(opened(f"{s3}/*.parquet"))


def test_server_that_knows_other_credentials_is_told(opened: Opener, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(403)

        do_HEAD = do_GET  # noqa: N815 - the base class asks for this name

    with served(Refusing) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        message = refused(opened(f"{s3}/shop.csv"))
    assert "must not be read with the credentials of this environment" in message
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in message


def test_server_that_is_down_may_be_tried_again(opened: Opener, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    message = refused(opened(f"{s3}/shop.csv"), SourceUnavailableError)
    assert "cannot be reached" in message


def test_passwords_in_urls_are_not_told(opened: Opener) -> None:
    message = refused(opened("http://user:geheim@127.0.0.1:9/shop.csv?token=abc"), SourceUnavailableError)
    assert "geheim" not in message
    assert "abc" not in message
    assert "cannot open" not in message
    assert "which nothing here can open" in refused(opened("nowhere://x/shop.csv"), ConfigError)


# The sandbox


@pytest.mark.parametrize(
    ("expression", "kind", "told"),
    [
        ("upper(item", ConfigError, "no SQL expression"),
        ("item, date", ConfigError, "no SQL expression"),
        ("item); DROP VIEW files; SELECT (1", ConfigError, "no SQL expression"),
        ("item AS item", ConfigError, "no SQL expression"),
        ("no_such_function(item)", SourceError, "does not fit its files: .*no_such_function"),
        ("units * revenue", SourceError, "does not fit its files: .*cast those that you calculate with"),
        ("upper(sku)", SourceError, r"lack the columns of the expression 'upper\(sku\)'; they have order_id"),
        ("(SELECT content FROM read_text('/etc/hostname'))", SourceError, "does not fit"),
    ],
)
def test_wrong_expressions_are_told(
    folder: Path, opened: Opener, expression: str, kind: type[SourceError | ConfigError], told: str
) -> None:
    message = refused(opened(write_csv(folder), columns={"item": expression}), kind)
    assert "feeds.sales.columns" in message
    assert re.search(told, message), message


@pytest.mark.parametrize(
    ("query", "kind", "told"),
    [
        ("SELECT item FROM", ConfigError, "is no SQL"),
        ("SELECT 1; SELECT 2", ConfigError, "exactly one SELECT"),
        ("COPY files TO 'stolen.csv'", ConfigError, "exactly one SELECT"),
        ("ATTACH 'other.db'", ConfigError, "exactly one SELECT"),
        ("SET memory_limit = '100GB'", ConfigError, "exactly one SELECT"),
        ("FROM files WHERE item = $item", ConfigError, r"asks for \$item"),
        ("FROM read_text('/etc/hostname')", SourceError, "disabled by configuration"),
        ("FROM read_csv('secret.csv')", SourceError, "disabled by configuration"),
        ("FROM glob('/etc/*')", SourceError, "disabled by configuration"),
        ("FROM 's3://bucket/other.parquet'", SourceError, "disabled by configuration"),
        ("FROM somebodys_variable", SourceError, "does not exist"),
        ("SELECT item, date FROM files", SourceError, "lack the column 'units'"),
        ("SELECT order_id, item, date, customer::INT AS units FROM files", SourceError, "cannot be read"),
    ],
)
def test_queries_reach_their_files_only(
    folder: Path, opened: Opener, query: str, kind: type[SourceError | ConfigError], told: str
) -> None:
    somebodys_variable = pd.DataFrame({"item": ["A1"]})
    (folder / "secret.csv").write_text("a\n1\n")
    message = refused(opened(write_csv(folder), query=query), kind)
    assert re.search(told, message), message
    assert "kunigunde" not in message
    assert len(somebodys_variable) == 1


def test_query_stands_alone(opened: Opener) -> None:
    with pytest.raises(ConfigError, match="'query' says all that 'columns' and 'where' could"):
        opened("shop.csv", query="FROM files", where="true")
