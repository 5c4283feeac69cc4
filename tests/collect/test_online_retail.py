"""The market `online_retail`: its workbook's shape in small, and the whole of Online Retail II where it is at hand."""

import os
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import yaml

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import SourceError
from pipeline.feeds import FEEDS
from pipeline.market import markets_dir
from pipeline.validate import ValidateReport
from tests.workbooks import Cell, write_workbook

LAST_DAY = date(2011, 12, 8)
"""The last whole day of the data."""
NAMES = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
PARQUET_NAMES = {
    "Invoice": "InvoiceNo",
    "Price": "UnitPrice",
    "Customer ID": "CustomerID",
    "Year 2009-2010": "2009-2010",
}
"""Workbook's name -> the name in the Parquet file that tests share."""


def line(
    invoice: int | str, code: int | str, units: int, moment: str, price: float = 2.5, customer: float | None = 13085.0
) -> tuple[Cell, ...]:
    return (invoice, code, f"THING {code}", units, datetime.fromisoformat(moment), price, customer, "United Kingdom")


FIRST_SHEET = [
    line(489434, 85048, 12, "2009-12-01 07:45"),
    line(489434, "79323p", 3, "2009-12-01 07:45", 6.75),
    line(489434, "POST", 1, "2009-12-01 07:45", 18),
    line(489435, 22041, 5, "2010-11-30 10:00", 0, None),
    line("C489449", 85048, -2, "2010-11-30 16:30"),
    line(536365, 85048, 6, "2010-12-01 08:26"),
]
SECOND_SHEET = [line(536365, 85048, 6, "2010-12-01 08:26"), line(536366, 85048, 1, "2010-12-02 09:00", 2.6)]


def workbook(folder: Path, *sheets: Sequence[tuple[Cell, ...]]) -> Path:
    names = ("Year 2009-2010", "Year 2010-2011")
    content = {name: [NAMES, *rows] for name, rows in zip(names, sheets, strict=True)}
    return write_workbook(folder / "anything.xlsx", content)


def test_workbook_as_users_download_it_is_cleaned(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLINE_RETAIL_FILE", str(workbook(tmp_path, FIRST_SHEET, SECOND_SHEET)))
    cycle = open_cycle("online_retail", date(2010, 12, 2), home)
    report = night(cycle, "sales")
    for feed in ("prices", "catalogue", "calendar"):
        collect.run(cycle, feed)
    sales = {(row["item"], row["date"]): row for row in collect.landed(cycle, "sales").read().to_pylist()}
    # Postage, the line without a price and the second sheet's repetition are not landed.
    assert list(sales) == [
        ("85048", date(2009, 12, 1)),
        ("79323P", date(2009, 12, 1)),
        ("85048", date(2010, 11, 30)),
        ("85048", date(2010, 12, 1)),
        ("85048", date(2010, 12, 2)),
    ]
    assert sales["79323P", date(2009, 12, 1)]["revenue"] == 20.25
    assert sales["85048", date(2009, 12, 1)]["customer"] == "13085"
    assert report.accepted == 5
    known = facts(cycle, "sales")
    assert known["85048", date(2010, 11, 30)][:1] == (0.0,)
    assert known["85048", date(2010, 12, 1)][:1] == (6.0,)
    prices = {(row["item"], row["date"]): row["price"] for row in collect.landed(cycle, "prices").read().to_pylist()}
    assert (prices["85048", date(2010, 12, 1)], prices["85048", date(2010, 12, 2)]) == (2.5, 2.6)
    titles = {row["item"]: row["title"] for row in collect.landed(cycle, "catalogue").read().to_pylist()}
    assert titles["85048"] == "THING 85048"
    assert "black_friday" in collect.landed(cycle, "calendar").read()["event"].to_pylist()


def test_missing_workbook_is_named(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLINE_RETAIL_FILE", str(tmp_path / "none.xlsx"))
    with pytest.raises(SourceError, match=r"there is no such file beside it \(.*none\.xlsx\)"):
        collect.run(open_cycle("online_retail", LAST_DAY, home), "sales")


def night(cycle: Cycle, feed: str) -> ValidateReport:
    collect.run(cycle, feed)
    report = validate.run(cycle, feed)
    assert report.landed == report.accepted + report.quarantined + report.duplicates
    return report


def facts(cycle: Cycle, feed: str, until: date | None = None) -> dict[tuple[str, date], tuple[float, ...]]:
    """Return what is known of each item and day: units, revenue and returns."""
    rows = cycle.lake.as_of(feed, FEEDS[feed].key, cycle.as_of).to_pylist()
    return {
        (row["item"], row["date"]): (row["units"], row["revenue"], row["returns"])
        for row in rows
        if until is None or row["date"] <= until
    }


@pytest.fixture(scope="module")
def shared_file() -> Path:
    folder = Path(os.environ.get("TRENDMILL_SHARED_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")
    file = folder.resolve() / "online_retail_II.parquet"
    if not file.exists():
        pytest.skip(f"{file} is not there: name its folder in TRENDMILL_SHARED_DATA")
    return file


@pytest.fixture
def parquet_market(tmp_path: Path, shared_file: Path) -> Path:
    """Write the market `online_retail` with the column names of the shared Parquet file; all else is the same."""
    text = (markets_dir() / "online_retail.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    for feed in ("sales", "prices", "catalogue"):
        source = settings["feeds"][feed] | {"path": str(shared_file)}
        settings["feeds"][feed] = yaml.safe_load(_renamed(yaml.safe_dump(source, width=10_000)))
    file = tmp_path / "online_retail.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


def _renamed(text: str) -> str:
    for name, other in PARQUET_NAMES.items():
        text = re.sub(rf"\b{name}\b", other, text)
    return text


@pytest.mark.slow
def test_online_retail_loads_whole_and_balances(
    parquet_market: Path, shared_file: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    cycle = open_cycle(parquet_market, LAST_DAY, home)
    reports = [night(cycle, feed) for feed in ("sales", "prices", "catalogue", "calendar")]
    with capsys.disabled():
        print()  # noqa: T201 - the counts are to be seen
        for report in reports:
            print(report.summary())  # noqa: T201
    with duckdb.connect() as connection:
        connection.execute(
            """
            CREATE TABLE raw AS
            SELECT upper(trim(StockCode)) AS item, InvoiceDate::DATE AS date, Quantity AS units,
                   round(Quantity * UnitPrice, 2) AS revenue, InvoiceNo AS order_id, CustomerID AS customer
            FROM read_parquet($file)
            WHERE (sheet = '2010-2011' OR InvoiceDate < DATE '2010-12-01') AND InvoiceDate < DATE '2011-12-09'
              AND UnitPrice <> 0 AND regexp_full_match(upper(trim(StockCode)), '[0-9]{5}[A-Z]{0,2}')
            """,
            {"file": str(shared_file)},
        )
        landed = connection.sql("SELECT count(*) FROM raw").fetchall()[0][0]
        distinct = connection.sql("SELECT count(*) FROM (SELECT DISTINCT * FROM raw)").fetchall()[0][0]
        sold = connection.sql(
            """
            SELECT item, date, sum(units), sum(revenue) FROM (SELECT DISTINCT * FROM raw)
            WHERE date IN ('2009-12-01', '2010-11-18', '2011-12-08')
            GROUP BY ALL HAVING min(units) > 0 AND max(units) < 10000
            """
        ).fetchall()
    sales = reports[0]
    assert sales.landed == landed
    assert sales.duplicates == landed - distinct
    assert sales.quarantined < 0.001 * landed
    known = facts(cycle, "sales")
    assert len(sold) > 2000
    for item, day, units, revenue in sold:
        assert known[item, day][0] == units
        assert known[item, day][1] == pytest.approx(revenue, abs=0.005)


@pytest.mark.slow
def test_cancellation_on_a_later_day_changes_that_day_alone(parquet_market: Path, home: Home) -> None:
    settings = yaml.safe_load(parquet_market.read_text(encoding="utf-8"))
    parquet_market.write_text(yaml.safe_dump(settings | {"history_start": date(2011, 10, 1)}), encoding="utf-8")
    today = open_cycle(parquet_market, date(2011, 11, 17), home)
    tomorrow = Cycle(today.market, today.as_of + timedelta(days=1), home)
    night(today, "sales")
    before = facts(today, "sales")
    night(tomorrow, "sales")
    after = facts(tomorrow, "sales")
    assert facts(tomorrow, "sales", today.as_of) == before
    assert facts(today, "sales") == before
    returned = {key for key, (_, _, returns) in after.items() if returns > 0 and key[1] == tomorrow.as_of}
    sold_before = {item for item, day in before if before[item, day][0] > 0}
    assert {item for item, _ in returned} & sold_before
