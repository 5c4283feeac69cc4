"""The gate: the ledger balances, bad rows wait with a reason, blocking rules let nothing in, knowledge has a day."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, FencedError, GateError
from pipeline.feeds import FEEDS, FeedName, Grain
from pipeline.validate import decisions
from pipeline.validate import validate as stage
from pipeline.validate.quarantine import find_bad_rows
from pipeline.validate.suites import expectations_dir
from tests.conftest import AS_OF, HISTORY_START, MarketWriter
from tests.validate.batches import ALL_FEEDS, NEXT_DAY, known, line, put

ANYTHING_GOES = {"max_quarantined_share": 1}


def gate(cycle: Cycle, feed: FeedName) -> validate.ValidateReport:
    collect.run(cycle, feed)
    return validate.run(cycle, feed)


def edit(file: Path, feed: str, change) -> None:
    """Change a feed of the small market where it lies."""
    path = file.parent / f"{feed}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def known_units(cycle: Cycle, item: str, day: date) -> float | None:
    return next((row["units"] for row in known(cycle, "sales") if (row["item"], row["date"]) == (item, day)), None)


@pytest.fixture
def open_gate(small_market: MarketWriter, home: Home) -> Cycle:
    """Return a cycle of a market with all feeds, whose gate lets any share of rows be quarantined."""
    return open_cycle(small_market(feeds=ALL_FEEDS, gate=ANYTHING_GOES), AS_OF, home)


def test_ledger_balances_and_bad_rows_wait_with_their_reason(small_cycle: Cycle) -> None:
    report = gate(small_cycle, "sales")
    assert report.landed == report.accepted + report.quarantined + report.duplicates
    assert (report.quarantined, report.duplicates) == (2, 1)
    held = small_cycle.lake.read("quarantine", cycle=AS_OF, feed="sales").to_pylist()
    assert {row["rule"]: json.loads(row["row"])["units"] for row in held} == {
        "units_not_zero": 0,
        "units_plausible": 50_000,
    }
    assert {(row["grain"], row["day"]) for row in held} == {("lines", date(2021, 1, 12)), ("lines", date(2021, 1, 15))}
    ledger = small_cycle.lake.read("batches", cycle=AS_OF).to_pylist()
    assert [(row["landed"], row["accepted"], row["released"]) for row in ledger] == [
        (report.landed, report.accepted, 0)
    ]
    assert json.loads(ledger[0]["rules"]) == {"units_not_zero": 1, "units_plausible": 1}


def test_facts_are_the_sums_of_the_accepted_lines(small_cycle: Cycle, small_market: MarketWriter) -> None:
    gate(small_cycle, "sales")
    lines = pd.read_csv(small_market().parent / "sales.csv").drop_duplicates()
    lines = lines[(lines["units"] > 0) & (lines["units"] <= 1000) & (lines["date"] <= str(AS_OF))]
    expected = lines.groupby(["sku", "date"])["units"].sum()
    facts = small_cycle.lake.as_of("sales", FEEDS["sales"].key, AS_OF).to_pandas()
    found = facts.assign(date=facts["date"].astype(str)).set_index(["item", "date"])["units"].sort_index()
    pd.testing.assert_series_equal(found, expected.sort_index(), check_names=False, check_dtype=False)


def test_return_on_the_day_of_the_sale_undoes_it_and_a_later_one_does_not(open_gate: Cycle) -> None:
    yesterday = AS_OF - timedelta(days=1)
    rows = [
        line(order_id="A1", customer="ann", units=2, revenue=6),
        line(order_id="A2", customer="ann", units=2, revenue=7),
        line(order_id="C1", customer="ann", units=-2, revenue=-6),  # undoes one of the two
        line(order_id="A3", customer="bob", units=1, revenue=3),
        line(order_id="C2", customer="bob", units=-4, revenue=-12),  # of another day: only counted
        line(order_id="A4", customer=None, units=5, revenue=15),
        line(order_id="C3", customer=None, units=-5, revenue=-15),  # by nobody known: only counted
        line(order_id="A5", customer="eve", units=4, revenue=8, date=yesterday),
        line(order_id="A6", item="SKU02", customer="eve", units=1),
        line(order_id="C4", item="SKU02", customer="eve", units=-1, revenue=-6),
    ]
    put(open_gate, "sales", rows)
    report = validate.run(open_gate, "sales")
    assert (report.accepted, report.quarantined) == (10, 0)
    before, today = known(open_gate, "sales")
    assert (before["date"], before["units"], before["returns"]) == (yesterday, 4, 0)
    assert (today["item"], today["units"], today["returns"], today["orders"]) == ("SKU01", 2 + 1 + 5, 4 + 5, 3)
    assert today["revenue"] == 7 + 3 + 15


def test_events_are_counted_and_few_people_are_not_told(open_gate: Cycle) -> None:
    noon = datetime.combine(AS_OF, datetime.min.time())
    event = {"item": "SKU01", "location": "all", "date": AS_OF, "timestamp": noon}
    people = [event | {"event": kind, "user": f"u{n}"} for n in range(5) for kind in ("view", "cart", "search")]
    few = [event | {"item": "SKU02", "event": "favourite", "user": f"u{n}"} for n in range(4)]
    put(open_gate, "behaviour", [*people, *few, *people, event | {"event": "bought", "user": "u1"}])
    report = validate.run(open_gate, "behaviour")
    assert (report.accepted, report.quarantined, report.duplicates) == (19, 1, 15)
    many, four = known(open_gate, "behaviour")
    columns = ("views", "cart_adds", "favourites", "searches", "visitors")
    assert [many[column] for column in columns] == [5, 5, 0, 5, 5]
    assert [four[column] for column in columns] == [0, 0, 4, 0, None]


def test_few_people_are_not_told_where_a_source_has_counted_them(open_gate: Cycle) -> None:
    fact = {"item": "SKU01", "location": "all", "date": AS_OF, "units": 9.0, "buyers": 4}
    put(open_gate, "sales", [fact, fact | {"item": "SKU02", "buyers": 5}, fact | {"units": -9.0}], "facts")
    validate.run(open_gate, "sales")
    assert [row["buyers"] for row in known(open_gate, "sales")] == [None, 5]
    (bad,) = open_gate.lake.read("quarantine").to_pylist()
    assert json.loads(bad["row"])["buyers"] is None


def test_another_quantity_of_an_item_in_an_order_is_another_line_unless_lines_are_numbered(open_gate: Cycle) -> None:
    put(open_gate, "sales", [line(), line(units=3)])
    assert validate.run(open_gate, "sales").accepted == 2
    put(open_gate, "sales", [line(line="1"), line(line="1", units=3, date=AS_OF - timedelta(days=1))])
    with pytest.raises(GateError, match=r"order_id, line must tell rows apart, but 1 rows repeat.*unique_key"):
        validate.run(open_gate, "sales")


FACT = {"item": "SKU01", "location": "all", "date": AS_OF}
PROMOTION = {
    "item": "SKU01", "category": "*", "location": "*", "start": AS_OF, "end": AS_OF, "kind": "coupon", "depth": 0.1
}  # fmt: skip
WEATHER = {"variable": "rain", "region": "*", "location": "*", "item": "*", "date": AS_OF, "value": 1.0}
NOON = datetime.combine(AS_OF, datetime.min.time())
SUSPECTS: dict[tuple[FeedName, Grain], tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    ("sales", "lines"): (
        line(),
        {
            "order_id_present": {"order_id": " "},
            "item_present": {"item": None},
            "units_present": {"units": None},
            "not_too_early": {"date": HISTORY_START - timedelta(days=1)},
            "not_in_future": {"date": NEXT_DAY},
            "units_finite": {"units": float("nan")},
            "revenue_finite": {"revenue": float("-inf")},
            "units_not_zero": {"units": 0},
            "units_plausible": {"units": -10_001, "revenue": -1},
            "unit_price_not_negative": {"revenue": -6},
            "unit_price_plausible": {"revenue": 1e6},
        },
    ),
    ("sales", "facts"): (
        FACT | {"units": 2.0, "revenue": 6.0, "orders": 1, "buyers": 7, "returns": 0.0},
        {
            "location_present": {"location": ""},
            "units_finite": {"units": float("inf")},
            "units_not_negative": {"units": -1},
            "returns_not_negative": {"returns": -1},
            "orders_not_negative": {"orders": -1},
        },
    ),
    ("behaviour", "facts"): (FACT | {"views": 3}, {"views_not_negative": {"views": -3}}),
    ("behaviour", "lines"): (
        FACT | {"timestamp": NOON, "event": "view"},
        {"timestamp_present": {"timestamp": None}, "event_known": {"event": "stare"}},
    ),
    ("stock", "facts"): (
        FACT | {"on_hand": 3.0, "in_stock_share": 1.0},
        {"on_hand_not_negative": {"on_hand": -1}, "in_stock_share_is_share": {"in_stock_share": 1.5}},
    ),
    ("prices", "facts"): (
        FACT | {"price": 3.0},
        {
            "price_positive": {"price": 0},
            "price_plausible": {"price": 1e6},
            "list_price_finite": {"list_price": float("nan")},
            "list_price_not_negative": {"list_price": -1},
        },
    ),
    ("promotions", "facts"): (
        PROMOTION,
        {"end_after_start": {"end": AS_OF - timedelta(days=1)}, "depth_share": {"depth": 2}},
    ),
    ("catalogue", "facts"): (
        {"item": "SKU01"},
        {"item_present": {"item": None}, "discontinued_after_launch": {"launched": NEXT_DAY, "discontinued": AS_OF}},
    ),
    ("market", "facts"): (WEATHER, {"value_finite": {"value": float("nan")}, "not_in_future": {"date": NEXT_DAY}}),
    ("calendar", "facts"): (
        {"country": "GB", "date": AS_OF, "event": "Fair", "kind": "local"},
        {"kind_present": {"kind": None}},
    ),
}


@pytest.mark.parametrize(("feed", "grain"), SUSPECTS, ids="-".join)
def test_each_rule_sends_its_rows_to_quarantine(open_gate: Cycle, feed: FeedName, grain: Grain) -> None:
    good, bad = SUSPECTS[feed, grain]
    put(open_gate, feed, [good, *(good | changes for changes in bad.values())], grain)
    assert validate.run(open_gate, feed).accepted == 1
    assert sorted(open_gate.lake.read("quarantine")["rule"].to_pylist()) == sorted(bad)


def test_row_that_is_bad_every_night_keeps_its_id(open_gate: Cycle) -> None:
    ids = []
    for shift in range(2):
        night = Cycle(open_gate.market, AS_OF + timedelta(days=shift), open_gate.home)
        put(night, "sales", [line(), line(order_id=f"B{shift}"), line(order_id="bad", customer="ann", units=0)])
        validate.run(night, "sales")
        ids += night.lake.read("quarantine", cycle=night.as_of)["id"].to_pylist()
    assert ids[0] == ids[1]
    assert len(ids[0]) == 12


def test_known_ahead_variables_may_speak_of_the_future_from_long_before(small_market: MarketWriter, home: Home) -> None:
    market = small_market(feeds=ALL_FEEDS, gate=ANYTHING_GOES, variables={"open": {"known": "ahead"}, "rain": {}})
    cycle = open_cycle(market, AS_OF, home)
    ahead = cycle.as_of + timedelta(days=cycle.market.horizon_days)
    rows = [WEATHER | {"variable": name, "date": day} for name in ("open", "rain") for day in (AS_OF, ahead)]
    put(
        cycle,
        "market",
        [*rows, WEATHER | {"variable": "open", "date": ahead + timedelta(days=1)}],
        "facts",
        until=ahead,
    )
    assert validate.run(cycle, "market").quarantined == 2
    learnt = {(row["variable"], row["date"]): row["known_on"] for row in known(cycle, "market")}
    assert learnt == {
        ("open", AS_OF): AS_OF - timedelta(days=cycle.market.horizon_days),
        ("open", ahead): AS_OF,
        ("rain", AS_OF): AS_OF,
    }


def many_slices(cycle: Cycle, feed: FeedName, slice_rows: int) -> validate.ValidateReport:
    return stage._validated(cycle, feed, slice_rows)


def test_a_batch_in_many_slices_ends_as_in_one(small_market: MarketWriter, tmp_path: Path) -> None:
    file = small_market()
    edit(file, "sales", lambda sales: pd.concat([sales, sales.iloc[::50], sales.iloc[::70].assign(units=-1)]))
    homes = {slice_rows: Home(tmp_path / str(slice_rows)) for slice_rows in (10**9, 5000)}
    reports = []
    for day, change in ((AS_OF, lambda sales: sales), (NEXT_DAY, lambda sales: sales[sales["sku"] != "SKU07"])):
        edit(file, "sales", change)
        for slice_rows, place in homes.items():
            cycle = open_cycle(file, day, place)
            collect.run(cycle, "sales")
            reports.append(many_slices(cycle, "sales", slice_rows).as_dict() | {"docs": ""})
    whole, sliced = (Cycle(cycle.market, NEXT_DAY, place).lake for place in homes.values())
    assert reports[0]["duplicates"] > 200
    assert reports[::2] == reports[1::2]
    for table in ("facts/sales", "quarantine", "batches"):
        order = [(name, "ascending") for name in whole.read(table).column_names]
        assert sliced.read(table).sort_by(order).equals(whole.read(table).sort_by(order))


def test_pages_add_the_slices_up_and_show_nobody(open_gate: Cycle) -> None:
    days = [AS_OF - timedelta(days=shift) for shift in range(4)]
    rows = [line(date=day, order_id=f"{n}", units=n, customer=f"ann-{n}@example.com") for day in days for n in range(6)]
    put(open_gate, "sales", rows)
    report = many_slices(open_gate, "sales", 6)
    page = Path(report.docs)
    assert page == open_gate.home.data_docs / "small" / "sales_lines" / f"{AS_OF}.html"
    text = page.read_text()
    assert "4 unexpected values found" in text
    assert "16.67% of 24 total rows" in text
    assert "share_quarantined" in text
    assert "example.com" not in text
    assert page.with_name("index.html").read_text() == text


@pytest.mark.slow
def test_vanished_keys_are_deleted_on_every_day_of_the_window_and_bad_ones_are_not(open_gate: Cycle) -> None:
    days = [AS_OF - timedelta(days=shift) for shift in range(3)]
    put(open_gate, "sales", [line(date=day, item=item) for day in days for item in ("SKU01", "SKU02", "SKU03")])
    validate.run(open_gate, "sales")
    tomorrow = Cycle(open_gate.market, NEXT_DAY, open_gate.home)
    kept = [line(date=day) for day in (days[0], days[2])]  # nothing at all of the day between
    bad = [line(date=day, item="SKU03", units=0) for day in (days[0], days[2])]
    put(tomorrow, "sales", [*kept, *bad], since=days[1], initial=False)
    report = many_slices(tomorrow, "sales", 1)
    assert report.quarantined == 2 + 1  # the day before the window is refused
    assert [(row["item"], row["date"]) for row in known(tomorrow, "sales")] == [
        ("SKU01", days[2]),
        ("SKU01", days[0]),
        ("SKU02", days[2]),
        ("SKU03", days[2]),
        ("SKU03", days[0]),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("nights_missed", [0, 2])
def test_released_rows_enter_with_the_day_of_the_decision(open_gate: Cycle, nights_missed: int) -> None:
    old = AS_OF - timedelta(days=30)
    put(open_gate, "sales", [line(), line(date=old), line(units=20_000), line(date=old, units=30_000)])
    assert validate.run(open_gate, "sales").quarantined == 2
    ids = open_gate.lake.read("quarantine")["id"].to_pylist()
    tomorrow = Cycle(open_gate.market, NEXT_DAY, open_gate.home)
    decisions.release(tomorrow, find_bad_rows(tomorrow.lake, "small", ids))
    tomorrow = Cycle(open_gate.market, NEXT_DAY + timedelta(days=nights_missed), open_gate.home)
    put(tomorrow, "sales", [line(), line(units=20_000)], since=AS_OF - timedelta(days=7), initial=False)
    report = validate.run(tomorrow, "sales")
    assert (report.accepted, report.released, report.quarantined) == (2, 1, 0)
    assert [known_units(tomorrow, "SKU01", day) for day in (old, AS_OF)] == [30_002, 20_002]
    assert [known_units(open_gate, "SKU01", day) for day in (old, AS_OF)] == [2, 2]
    assert validate.run(tomorrow, "sales").as_dict() == report.as_dict()


@pytest.mark.slow
def test_no_customer_is_found_outside_the_landing_zone(small_cycle: Cycle) -> None:
    gate(small_cycle, "sales")
    written = [path for path in small_cycle.home.path.rglob("*") if path.is_file()]
    outside = [path for path in written if small_cycle.home.landing not in path.parents]
    assert any(path.suffix == ".parquet" for path in outside)
    for path in outside:
        assert b"@example.com" not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert "@example.com" not in pd.read_parquet(path).to_csv(), path


@pytest.mark.slow
def test_second_run_adds_no_row_and_no_version(small_cycle: Cycle) -> None:
    first = gate(small_cycle, "sales")
    versions = {table: small_cycle.lake.version(table) for table in ("facts/sales", "quarantine", "batches")}
    second = gate(small_cycle, "sales")
    assert second.as_dict() == first.as_dict()
    assert {table: small_cycle.lake.version(table) for table in versions} == versions


@pytest.mark.slow
def test_unknown_yesterday_late_today_is_known_from_today(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    today, tomorrow = open_cycle(file, AS_OF, home), open_cycle(file, NEXT_DAY, home)
    day = AS_OF - timedelta(days=2)
    gate(today, "sales")
    before = known_units(today, "SKU03", day)
    late = {"invoice": "late-1", "sku": "SKU03", "date": str(day), "units": 7, "revenue": 7.0, "client": "x"}
    edit(file, "sales", lambda sales: pd.concat([sales, pd.DataFrame([late])]))
    gate(tomorrow, "sales")
    assert known_units(today, "SKU03", day) == before
    assert known_units(tomorrow, "SKU03", day) == before + 7


@pytest.mark.slow
def test_row_that_left_the_source_is_deleted_from_the_next_day_on(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    today, tomorrow = open_cycle(file, AS_OF, home), open_cycle(file, NEXT_DAY, home)
    gate(today, "sales")
    gone = (AS_OF - timedelta(days=1), "SKU19")
    edit(file, "sales", lambda sales: sales[(sales["date"] != str(gone[0])) | (sales["sku"] != gone[1])])
    gate(tomorrow, "sales")
    assert known_units(today, gone[1], gone[0]) is not None
    assert known_units(tomorrow, gone[1], gone[0]) is None


@pytest.mark.slow
def test_earlier_night_can_be_replayed_after_a_later_one(small_cycle: Cycle) -> None:
    gate(small_cycle, "sales")
    earlier = Cycle(small_cycle.market, AS_OF - timedelta(days=30), small_cycle.home)
    assert gate(earlier, "sales").revised == 0
    newest = max(earlier.lake.as_of("sales", FEEDS["sales"].key, earlier.as_of)["date"].to_pylist())
    assert newest == earlier.as_of


@pytest.mark.parametrize(
    ("feed", "change", "words"),
    [
        ("sales", lambda sales: sales[sales["date"] <= "2021-06-01"], "newest row is about 2021-06-01"),
        ("sales", lambda sales: sales.assign(units=0), "would be quarantined.*no units were sold.*5.0% is allowed"),
        ("sales", lambda sales: sales.assign(units="many"), "no row has a readable value in units"),
        ("sales", lambda sales: sales.assign(line="1"), r"order_id, line must tell rows apart.*unique_key"),
        (
            "sales",
            lambda sales: sales.assign(date=sales["date"].where(sales["sku"] == "SKU00", "some day")),
            "of its rows would be quarantined, most because date is missing",
        ),
    ],
)
def test_blocked_batch_leaves_the_lake_as_it_was(
    small_market: MarketWriter, home: Home, feed: FeedName, change, words: str
) -> None:
    file = small_market()
    edit(file, feed, lambda sales: change(pd.concat([sales, sales.head(1).assign(units=3, revenue=99)])))
    cycle = open_cycle(file, AS_OF, home)
    collect.run(cycle, feed)
    with pytest.raises(GateError, match=words):
        validate.run(cycle, feed)
    assert not any(cycle.lake.exists(table) for table in (f"facts/{feed}", "quarantine", "batches"))


def test_thresholds_can_differ_by_feed(small_market: MarketWriter, home: Home) -> None:
    limits = {"max_units": 1, "max_quarantined_share": 1}
    cycle = open_cycle(small_market(gate={"feeds": {"sales": limits}}), AS_OF, home)
    put(cycle, "sales", [line(), line(units=1)])
    assert validate.run(cycle, "sales").quarantined == 1
    assert cycle.lake.read("quarantine")["reason"].to_pylist() == ["more than 1 units in one line"]


@pytest.mark.slow
def test_batch_that_another_attempt_has_committed_meanwhile_is_refused(
    small_cycle: Cycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect.run(small_cycle, "catalogue")
    write_page = stage.write_page

    def overtaken(*arguments):
        monkeypatch.setattr(stage, "write_page", write_page)
        validate.run(small_cycle, "catalogue")
        return write_page(*arguments)

    monkeypatch.setattr(stage, "write_page", overtaken)
    with pytest.raises(FencedError):
        validate.run(small_cycle, "catalogue")
    assert small_cycle.lake.read("facts/catalogue").num_rows == 20


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}, "judges the batch as a whole"),
        ({"type": "expect_column_values_to_be_nice", "kwargs": {"column": "item"}}, "'odd'.*is not valid"),
        ({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer"}}, "speaks of 'customer'"),
        ({"type": "expect_column_values_to_be_in_set", "kwargs": {"value_set": {"$PARAMETER": "x"}}}, "'x'"),
    ],
)
def test_suite_that_cannot_be_used_is_named(
    small_cycle: Cycle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expectation: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("TRENDMILL_EXPECTATIONS", str(tmp_path))
    rule = expectation | {"severity": "warning", "meta": {"rule": "odd", "reason": "odd"}}
    content = {"name": "sales_lines", "meta": {}, "expectations": [rule]}
    (tmp_path / "sales_lines.json").write_text(json.dumps(content))
    put(small_cycle, "sales", [line()])
    with pytest.raises(ConfigError, match=words):
        validate.run(small_cycle, "sales")


@pytest.mark.parametrize("file", sorted(expectations_dir().glob("*.json")), ids=lambda file: file.stem)
def test_every_rule_of_a_suite_has_a_name_a_severity_and_a_reason(file: Path) -> None:
    suite = json.loads(file.read_text())
    assert suite["name"] == file.stem
    rules = [expectation["meta"]["rule"] for expectation in suite["expectations"]]
    assert len(rules) == len(set(rules))
    for expectation in suite["expectations"]:
        assert expectation["severity"] in {"critical", "warning", "info"}
        assert expectation["meta"]["reason"]


def test_every_feed_has_its_suite() -> None:
    suites = {file.stem for file in expectations_dir().glob("*.json")}
    assert suites == set(FEEDS) | {f"{feed.name}_lines" for feed in FEEDS.values() if feed.lines} | {"batch"}
