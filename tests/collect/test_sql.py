"""The SQL source against real databases: the same market definition gives the same facts on each."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml

from pipeline import validate
from pipeline.collect import landed, run
from pipeline.collect.sources import Window, open_source
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, SourceError, SourceUnavailableError
from pipeline.feeds import FEEDS, LARGEST_NUMBER
from pipeline.market import Market, load_market
from tests.databases import ENGINES, PASSWORD, VARIABLE

SINCE = date(2021, 3, 22)
AS_OF = date(2021, 4, 4)
"""The clocks in London go forward on 2021-03-28."""
LONDON = ZoneInfo("Europe/London")

LINES = {
    "source": "sql",
    "url_variable": VARIABLE,
    "table": "order_lines",
    "columns": {
        "order_id": "order_no",
        "line": "line_no",
        "item": "sku",
        "location": "shop",
        "date": "sold_at",
        "units": "quantity",
        "revenue": "amount",
        "customer": "client",
    },
}
on_each_engine = pytest.mark.parametrize("shop", ENGINES, indirect=True)

Opener = Callable[..., Cycle]


@pytest.fixture
def market_of(tmp_path: Path, home: Home) -> Opener:
    """Return a function that opens the cycle of a market with these feeds."""

    def open_market(name: str = "shop", gate: dict[str, float] | None = None, **feeds: dict[str, Any]) -> Cycle:
        settings = {
            "name": name,
            "title": "Shop",
            "timezone": "Europe/London",
            "history_start": SINCE,
            "look_back_days": 7,
            "privacy": {"min_group": 1},
            "gate": gate or {},
            "feeds": feeds,
            "candidates": {"seasonal_naive": {"model": "seasonal_naive"}},
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return open_cycle(file, AS_OF, home)

    return open_market


def order_lines() -> pa.Table:
    """Return order lines around midnight and the change of the clocks: repeated, returned, and of nobody known."""
    draw = random.Random(11)  # noqa: S311 - the same lines each time
    lines = []
    for number in range(900):
        hours = draw.choice([0, 0.5, 8, 12, 20, 22.5, 23, 23.75])
        at = datetime(2021, 3, 21, tzinfo=UTC) + timedelta(days=draw.randrange(16), hours=hours)
        units = draw.choice([1, 1, 2, 3, 5])
        line = {
            "order_no": f"{draw.choice('aBc')}{draw.choice('-_ ')}{number // 3}",
            "line_no": number % 3,
            "sku": f"SKU{draw.randrange(4)}",
            "shop": draw.choice(["north", "south"]),
            "sold_at": at,
            "quantity": units,
            "amount": Decimal(draw.randrange(units, units * 900)) / 100,
            "client": draw.choice([None, "ann@example.com", "bob@example.com", "cy@example.com"]),
        }
        lines.append(line)
        if draw.random() < 0.25:
            back = {"order_no": f"R{number}", "quantity": -units, "amount": -line["amount"]}
            lines.append(line | back | {"sold_at": at + timedelta(days=draw.choice([0, 0, 0, 2]))})
        if draw.random() < 0.05:
            lines.append(dict(lines[-1]))
        if draw.random() < 0.02:
            lines.append(line | {"order_no": f"Z{number}", "quantity": 0, "amount": Decimal(0)})
    return pa.Table.from_pylist(lines, schema=LINES_SCHEMA)


LINES_SCHEMA = pa.schema(
    [
        ("order_no", pa.string()),
        ("line_no", pa.int64()),
        ("sku", pa.string()),
        ("shop", pa.string()),
        ("sold_at", pa.timestamp("us", "UTC")),
        ("quantity", pa.int64()),
        ("amount", pa.decimal128(12, 2)),
        ("client", pa.string()),
    ]
)


def summed_by_hand(lines: pa.Table) -> list[dict[str, Any]]:
    """Return the daily facts of order lines, line by line in Python."""
    seen = {tuple(line.values()): line for line in lines.to_pylist()}.values()
    places = defaultdict(list)
    for line in seen:
        day = line["sold_at"].astimezone(LONDON).date()
        if SINCE <= day <= AS_OF and line["quantity"] != 0:
            places[line["sku"], line["shop"], day].append(line)
    facts = []
    for (item, location, day), there in sorted(places.items()):
        kept = without_pairs(there)
        sold = [line for line in kept if line["quantity"] > 0]
        if kept:
            facts.append(
                {
                    "item": item,
                    "location": location,
                    "date": day,
                    "units": float(sum(line["quantity"] for line in sold)),
                    "revenue": float(sum(line["amount"] for line in sold)),
                    "orders": len({line["order_no"] for line in sold}),
                    "buyers": len({line["client"] for line in sold} - {None}),
                    "returns": float(-sum(line["quantity"] for line in kept if line["quantity"] < 0)),
                }
            )
    return facts


def without_pairs(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines without sales that the same customer returned on the same day, first orders first."""
    lines = sorted(lines, key=lambda line: (line["order_no"], line["line_no"], line["amount"]))
    counts = Counter((line["client"], line["quantity"]) for line in lines)
    taken: Counter[tuple[str, int]] = Counter()
    kept = []
    for line in lines:
        who, units = line["client"], line["quantity"]
        taken[who, units] += 1
        if who is None or taken[who, units] > min(counts[who, units], counts[who, -units]):
            kept.append(line)
    return kept


def landed_rows(cycle: Cycle, feed: str = "sales") -> list[dict[str, Any]]:
    rows = landed(cycle, feed).read().to_pylist()
    return sorted(rows, key=lambda row: tuple(str(value) for value in row.values()))


def says_once(error: BaseException, *parts: str) -> None:
    text = str(error)
    assert all(part in text for part in parts), text
    assert PASSWORD not in text
    assert "example.com" not in text
    assert "\n" not in text


@on_each_engine
def test_lines_are_summed_up_in_the_database(shop, market_of):
    shop.put("order_lines", order_lines())
    cycle = market_of(sales=LINES)
    report = run(cycle, "sales")
    facts = landed_rows(cycle)
    assert landed(cycle, "sales").grain == "facts"
    assert report.rows == len(facts)
    assert facts == summed_by_hand(order_lines())


@pytest.mark.slow
@on_each_engine
def test_the_database_sums_up_as_the_gate_does(shop, market_of):
    shop.put("order_lines", order_lines())
    facts = []
    for name, source in (("inside", LINES), ("outside", LINES | {"aggregate": False})):
        cycle = market_of(name, sales=source)
        run(cycle, "sales")
        validate.run(cycle, "sales")
        held = cycle.lake.as_of("sales", FEEDS["sales"].key, AS_OF).select(FEEDS["sales"].schema.names).to_pylist()
        facts.append(sorted(held, key=lambda row: (row["item"], row["location"], row["date"])))
    assert facts[0] == facts[1]
    assert [row["units"] for row in facts[0]] == [row["units"] for row in summed_by_hand(order_lines())]


CORNERS = {
    "usual": (2.0, 9.5),
    "tiny": (0.00001, 1.0),
    "tiny return": (-0.00001, -1.0),
    "largest": (LARGEST_NUMBER, 1.0),
    "larger": (LARGEST_NUMBER * 1.01, 1.0),
    "much larger": (1e300, 1.0),
    "infinite": (float("inf"), 1.0),
    "infinitely few": (float("-inf"), 1.0),
    "no number": (float("nan"), 1.0),
    "missing": (None, 1.0),
    "nothing": (0.0, 0.0),
    "free": (1.0, 0.0),
    "unpriced": (1.0, None),
    "dear": (1.0, LARGEST_NUMBER),
    "dearer": (1.0, LARGEST_NUMBER * 1.01),
    "priceless": (1.0, float("inf")),
    "worthless": (1.0, float("nan")),
    "refund": (-1.0, float("-inf")),
}
"""Item -> units and revenue of its only line."""


@pytest.mark.slow
@pytest.mark.parametrize("shop", ["duckdb", "postgres", "sqlite"], indirect=True)
def test_the_database_and_the_gate_agree_about_numbers_at_the_edge(shop, market_of):
    lines = [corner_line(item, units, revenue) for item, (units, revenue) in CORNERS.items()]
    nameless = [corner_line(f"order {name!r}", 1.0, 1.0) | {"order_no": name} for name in (None, "", " ")]
    shop.put("order_lines", pa.Table.from_pylist([*lines, *nameless], CORNERS_SCHEMA))
    facts = []
    lenient = {"max_units": 1e308, "max_price": 1e308, "max_quarantined_share": 1}
    for name, source in (("inside", LINES), ("outside", LINES | {"aggregate": False})):
        cycle = market_of(name, gate=lenient, sales=source)
        run(cycle, "sales")
        validate.run(cycle, "sales")
        held = cycle.lake.as_of("sales", FEEDS["sales"].key, AS_OF).select(FEEDS["sales"].schema.names).to_pylist()
        facts.append(sorted(held, key=lambda row: row["item"]))
    assert facts[0] == facts[1]
    good = ["usual", "tiny", "tiny return", "largest", "free", "unpriced", "dear"]
    if shop.engine == "sqlite":
        good += ["worthless"]  # SQLite keeps NaN as NULL
    assert [row["item"] for row in facts[0]] == sorted(good)


def corner_line(item: str, units: float | None, revenue: float | None) -> dict[str, Any]:
    at = datetime(2021, 4, 2, 12, tzinfo=UTC)
    return {"order_no": f"o-{item}", "line_no": 1, "sku": item, "shop": "north", "sold_at": at} | {
        "quantity": units,
        "amount": revenue,
        "client": "ann@example.com",
    }


CORNERS_SCHEMA = pa.schema(
    [
        ("order_no", pa.string()),
        ("line_no", pa.int64()),
        ("sku", pa.string()),
        ("shop", pa.string()),
        ("sold_at", pa.timestamp("us", "UTC")),
        ("quantity", pa.float64()),
        ("amount", pa.float64()),
        ("client", pa.string()),
    ]
)


@pytest.mark.parametrize("shop", ["duckdb", "postgres"], indirect=True)
def test_a_sum_that_is_larger_than_any_number_spoils_its_own_fact_alone(shop, market_of):
    many = [corner_line("many", LARGEST_NUMBER, 1.0) | {"order_no": str(number)} for number in range(1000)]
    shop.put("order_lines", pa.Table.from_pylist([*many, corner_line("one", 2.0, 3.0)], CORNERS_SCHEMA))
    cycle = market_of(sales=LINES)
    run(cycle, "sales")
    assert [(row["item"], row["units"], row["revenue"]) for row in landed_rows(cycle)] == [
        ("many", None, 1000.0),
        ("one", 2.0, 3.0),
    ]


@on_each_engine
def test_lines_land_one_by_one_where_they_are_wanted(shop, market_of):
    lines = order_lines()
    shop.put("order_lines", lines)
    cycle = market_of(sales=LINES | {"aggregate": False})
    run(cycle, "sales")
    days = [at.astimezone(LONDON).date() for at in lines["sold_at"].to_pylist()]
    expected = [
        {
            "order_id": line["order_no"],
            "line": str(line["line_no"]),
            "item": line["sku"],
            "location": line["shop"],
            "date": day,
            "units": float(line["quantity"]),
            "revenue": float(line["amount"]),
            "customer": line["client"],
        }
        for line, day in zip(lines.to_pylist(), days, strict=True)
        if SINCE <= day <= AS_OF
    ]
    assert landed(cycle, "sales").grain == "lines"
    assert landed_rows(cycle) == sorted(expected, key=lambda row: tuple(str(value) for value in row.values()))


@on_each_engine
def test_clicks_are_counted_in_the_database(shop, market_of):
    at = datetime(2021, 4, 3, 23, 30, tzinfo=UTC)  # already the fourth in London
    events = ["view", "view", "cart", "favourite", "search", "purchase"]
    rows = [
        {"event_id": str(n), "sku": "SKU1", "at": at, "event": event, "visitor": f"v{n % 2}@example.com"}
        for n, event in enumerate(events)
    ]
    shop.put("clicks", pa.Table.from_pylist([*rows, rows[0]]).cast(CLICKS_SCHEMA))
    shop.put("order_lines", order_lines())
    columns = {"item": "sku", "timestamp": "at", "user": "visitor"}
    clicks = {"source": "sql", "url_variable": VARIABLE, "table": "clicks", "columns": columns}
    cycle = market_of(sales=LINES, behaviour=clicks)
    run(cycle, "behaviour")
    counts = {"views": 2, "cart_adds": 1, "favourites": 1, "searches": 1, "visitors": 2}
    assert landed_rows(cycle, "behaviour") == [{"item": "SKU1", "location": "all", "date": AS_OF} | counts]


CLICKS_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("sku", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("event", pa.string()),
        ("visitor", pa.string()),
    ]
)


@on_each_engine
def test_facts_come_through_a_query_and_a_condition(shop, market_of):
    table = pa.table(
        {
            "sku": ["A", "B", "C"],
            "day": pa.array([date(2021, 4, 1), date(2021, 4, 2), date(2021, 4, 5)]),
            "price": pa.array([Decimal("1.10"), Decimal("2.20"), Decimal("3.30")], pa.decimal128(12, 2)),
        }
    )
    shop.put("price_list", table)
    shop.put("order_lines", order_lines())
    source = {"source": "sql", "url_variable": VARIABLE, "columns": {"item": "sku", "date": "day"}}
    query = source | {"query": "SELECT sku, day, price FROM price_list WHERE sku <> ':x%';"}
    cycle = market_of(sales=LINES, prices=query)
    run(cycle, "prices")
    assert [(row["item"], row["price"]) for row in landed_rows(cycle, "prices")] == [("A", 1.1), ("B", 2.2)]
    narrowed = market_of("narrowed", sales=LINES, prices=source | {"table": "price_list", "where": "price > 2"})
    run(narrowed, "prices")
    assert [row["item"] for row in landed_rows(narrowed, "prices")] == ["B"]


@pytest.mark.parametrize("shop", ["duckdb", "postgres"], indirect=True)
def test_a_table_may_lie_in_a_schema_and_be_written_by_another_clock(shop, market_of):
    lines = order_lines()
    naive = lines["sold_at"].cast(pa.timestamp("us"))
    shop.put("till.order_lines", lines.set_column(4, "sold_at", naive))
    cycle = market_of(sales=LINES | {"table": "till.order_lines", "timezone": "UTC"})
    run(cycle, "sales")
    assert landed_rows(cycle) == summed_by_hand(lines)


def test_a_line_that_cannot_be_read_leaves_its_fact_without_units(shop, market_of):
    lines = order_lines()
    days = [at.astimezone(LONDON).date() for at in lines["sold_at"].to_pylist()]
    position = days.index(AS_OF)
    quantities = lines["quantity"].cast(pa.float64()).to_pylist()
    quantities[position] = float("nan")
    shop.put("order_lines", lines.set_column(5, "quantity", pa.array(quantities)))
    cycle = market_of(sales=LINES)
    run(cycle, "sales")
    place = (lines["sku"][position].as_py(), lines["shop"][position].as_py(), AS_OF)
    without = [row for row in landed_rows(cycle) if row["units"] is None]
    assert [(row["item"], row["location"], row["date"]) for row in without] == [place]


@on_each_engine
@pytest.mark.parametrize("aggregate", [True, False])
def test_rows_without_a_day_come_with_every_window(shop, market_of, aggregate):
    days = [
        "2021-02-30",
        "30.03.2021",
        "2021-04-02T09:30:00",
        None,
        "2019-05-05",
        "some day",
        "2021-04-31",
        "2021-04-05",
    ]
    lines = order_lines().slice(0, len(days))
    names = pa.array([f"SKU{number}" for number in range(len(days))])
    lines = lines.set_column(2, "sku", names).set_column(4, "sold_at", pa.array(days))
    shop.put("order_lines", lines)
    source = LINES | {"aggregate": aggregate}
    market = market_of(sales=source).market
    assert fetched_days(market, AS_OF) == {f"SKU{number}": None for number in (0, 1, 3, 5, 6)} | {
        "SKU2": date(2021, 4, 2)
    }


@on_each_engine
def test_moments_that_are_missing_come_with_every_window_once(shop, market_of):
    lines = order_lines().slice(0, 3)
    moments = [None, datetime(2021, 4, 2, 12, tzinfo=UTC), datetime(2020, 4, 2, 12, tzinfo=UTC)]
    lines = lines.set_column(2, "sku", pa.array(["SKU0", "SKU1", "SKU2"]))
    shop.put("order_lines", lines.set_column(4, "sold_at", pa.array(moments, pa.timestamp("us", "UTC"))))
    market = market_of(sales=LINES).market
    # Longer than what Spark is asked for at once.
    assert fetched_days(market, AS_OF, days=40) == {"SKU0": None, "SKU1": date(2021, 4, 2)}


def fetched_days(market: Market, until: date, days: int = 3) -> dict[str, date | None]:
    """Return item -> day of what the market's sales source gives for some days, no item more than once."""
    window = Window(until - timedelta(days=days), until, until)
    rows = [
        row
        for batch in open_source(market.feed("sales"), market).fetch(FEEDS["sales"], window)
        for row in batch.select(["item", "date"]).to_pylist()
    ]
    found = {row["item"]: row["date"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_text_that_is_no_day_is_missing(shop, market_of):
    lines = order_lines()
    days = [str(at.astimezone(LONDON).date()) for at in lines["sold_at"].to_pylist()]
    days[0] = "2021-03-32"
    shop.put("order_lines", lines.set_column(4, "sold_at", pa.array(days)))
    cycle = market_of(sales=LINES)
    run(cycle, "sales")
    assert sum(row["date"] is None for row in landed_rows(cycle)) == 1


@on_each_engine
def test_a_missing_table_is_named_with_those_that_are_there(shop, market_of):
    shop.put("order_lines", order_lines())
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=LINES | {"table": "order_linez"}), "sales")
    says_once(caught.value, "has no table 'order_linez'", "it has", "order_lines")
    assert not isinstance(caught.value, SourceUnavailableError)


@on_each_engine
def test_a_missing_column_is_named_with_those_that_are_there(shop, market_of):
    shop.put("order_lines", order_lines())
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=LINES | {"columns": LINES["columns"] | {"units": "pieces"}}), "sales")
    says_once(caught.value, "lacks the column 'pieces'", "quantity", "feeds.sales.columns")


@on_each_engine
def test_a_retyped_column_is_refused(shop, market_of):
    lines = order_lines()
    shop.put("order_lines", lines.set_column(5, "quantity", lines["quantity"].cast(pa.string())))
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=LINES), "sales")
    says_once(caught.value, "The column 'quantity'", "string", "'units'")


@on_each_engine
def test_a_query_that_fails_is_told_in_one_sentence(shop, market_of):
    shop.put("order_lines", order_lines())
    settings = {key: value for key, value in LINES.items() if key != "table"}
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=settings | {"query": "SELECT nothing_such FROM order_lines"}), "sales")
    says_once(caught.value, "nothing_such", "'sales'")
    assert not isinstance(caught.value, SourceUnavailableError)


def test_a_wrong_password_is_final_and_never_shown(postgres, market_of, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres.url("wrong-secret"))
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=LINES), "sales")
    says_once(caught.value, "password authentication failed")
    assert "wrong-secret" not in str(caught.value)
    assert not isinstance(caught.value, SourceUnavailableError)


def test_a_statement_that_takes_too_long_may_pass(postgres, market_of, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres.url() + "&options=-c%20statement_timeout%3D50")
    settings = {key: value for key, value in LINES.items() if key != "table"}
    with pytest.raises(SourceUnavailableError) as caught:
        run(market_of(sales=settings | {"query": SLOW}), "sales")
    says_once(caught.value, "statement timeout")


SLOW = """
    SELECT 'A' AS order_no, '1' AS line_no, 'S' AS sku, 'north' AS shop, DATE '2021-04-01' AS sold_at,
           1 AS quantity, 1.5 AS amount, 'ann@example.com' AS client, pg_sleep(60)::text AS waiting
"""


def test_a_database_that_is_gone_may_come_back(start_postgres, market_of, monkeypatch):
    server = start_postgres()
    monkeypatch.setenv(VARIABLE, server.url())
    server.stop()
    cycle = market_of(sales=LINES)
    with pytest.raises(SourceUnavailableError) as caught:
        run(cycle, "sales")
    says_once(caught.value, "does not answer")


def test_a_database_that_goes_in_the_middle_leaves_nothing_behind(start_postgres, market_of, monkeypatch):
    server = start_postgres()
    monkeypatch.setenv(VARIABLE, server.url())
    settings = {key: value for key, value in LINES.items() if key != "table"}
    cycle = market_of(sales=settings | {"query": SLOW})
    caught: list[BaseException] = []

    def collect() -> None:
        try:
            run(cycle, "sales")
        except Exception as exc:  # noqa: BLE001 - whatever comes is looked at below
            caught.append(exc)

    thread = Thread(target=collect)
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'clerk' AND wait_event = 'PgSleep'"
    with server.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while thread.is_alive() and not connection.execute(sa.text(waiting)).scalar():
            pass
    server.stop()
    thread.join()
    assert isinstance(caught[0], SourceUnavailableError)
    says_once(caught[0], "broke off")
    assert not cycle.landing_dir("sales").exists()


def test_a_file_that_another_process_writes_may_pass(shop, market_of, tmp_path):
    import subprocess
    import sys

    shop.put("order_lines", order_lines())
    code = f"import duckdb; c = duckdb.connect({str(tmp_path / 'shop.duckdb')!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        with pytest.raises(SourceUnavailableError) as caught:
            run(market_of(sales=LINES), "sales")
        writer.communicate(b"\n")
    says_once(caught.value, "lock")


def test_a_file_that_is_not_there_is_final(market_of, tmp_path):
    with pytest.raises(SourceError) as caught:
        run(market_of(sales=_at("duckdb:///nowhere.duckdb")), "sales")
    says_once(caught.value, "nowhere.duckdb")
    assert not isinstance(caught.value, SourceUnavailableError)


def test_a_path_starts_from_the_markets_folder(shop, market_of):
    shop.put("order_lines", order_lines())
    cycle = market_of(sales=_at("duckdb:///shop.duckdb"))
    run(cycle, "sales")
    assert landed(cycle, "sales").rows


def test_parquet_files_need_no_database(market_of, tmp_path):
    pq.write_table(order_lines(), tmp_path / "lines.parquet")
    query = f"SELECT * FROM '{tmp_path}/*.parquet'"
    settings = {key: value for key, value in _at("duckdb://").items() if key != "table"} | {"query": query}
    cycle = market_of(sales=settings)
    run(cycle, "sales")
    assert landed_rows(cycle) == summed_by_hand(order_lines())


def test_the_environment_must_name_the_database(market_of, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError) as caught:
        run(market_of(sales=LINES), "sales")
    says_once(caught.value, VARIABLE, "feeds.sales")


def test_a_driver_that_is_not_installed_is_named(market_of, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"firebird://clerk:{PASSWORD}@localhost/shop")
    with pytest.raises(ConfigError) as caught:
        run(market_of(sales=LINES), "sales")
    says_once(caught.value, "firebird", "install")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (LINES | {"query": "SELECT 1"}, "either 'table' or 'query'"),
        (LINES | {"url": "duckdb:///a"}, "either 'url_variable'"),
        ({"source": "sql", "url": "postgresql://a:b@c/d", "table": "t"}, "holds a secret"),
        ({"source": "sql", "url": "postgresql://c/d?user=a&password=b", "table": "t"}, "holds a secret"),
        (LINES | {"timezone": "Mars/Base"}, "IANA"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, says, market_of):
    with pytest.raises(ConfigError) as caught:
        market_of(sales=settings)
    says_once(caught.value, says)


def test_an_index_on_the_day_is_used(postgres, market_of, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres.url())
    postgres.run(
        "CREATE TABLE order_lines AS SELECT n::text AS order_no, 1 AS line_no, 'A' AS sku, 'north' AS shop, "
        "timestamptz '2000-01-01' + n * interval '1 hour' AS sold_at, 1 AS quantity, 1.25 AS amount, 'c' AS client "
        "FROM generate_series(1, 200000) AS n",
        "CREATE INDEX ON order_lines (sold_at)",
        "ALTER TABLE order_lines OWNER TO clerk",
        "ANALYZE order_lines",
    )
    read = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'order_lines'"
    with postgres.admin.connect() as connection:
        seen = connection.execute(sa.text(read)).one().seq_scan
    run(market_of(sales=LINES), "sales")
    with postgres.admin.connect() as connection:
        scans = connection.execute(sa.text(read)).one()
    assert scans.idx_scan > 0
    assert scans.seq_scan == seen


def test_a_market_names_its_database_by_variable_alone(market_of, shop):
    cycle = market_of(sales=LINES)
    assert VARIABLE in cycle.market.file.read_text(encoding="utf-8")
    assert load_market(cycle.market.file).feeds["sales"].url is None


def _at(url: str) -> dict[str, Any]:
    return {key: value for key, value in LINES.items() if key != "url_variable"} | {"url": url}
