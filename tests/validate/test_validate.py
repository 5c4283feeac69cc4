"""The gate: the ledger balances, bad rows wait with a reason, blocking rules let nothing in, knowledge has a day."""

import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import FencedError, GateError
from pipeline.feeds import FEEDS, FeedName
from pipeline.validate.expectations import expectations_dir
from tests.conftest import AS_OF, MarketWriter


def gate(cycle: Cycle, feed: FeedName) -> validate.ValidateReport:
    collect.run(cycle, feed)
    return validate.run(cycle, feed)


def edit(file: Path, feed: str, change) -> None:
    """Change a feed of the small market where it lies."""
    path = file.parent / f"{feed}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def known_units(cycle: Cycle, item: str, day: date) -> float | None:
    facts = cycle.lake.as_of("sales", FEEDS["sales"].key, cycle.as_of).to_pylist()
    return next((row["units"] for row in facts if (row["item"], row["date"]) == (item, day)), None)


def test_ledger_balances_and_bad_rows_wait_with_their_reason(small_cycle: Cycle) -> None:
    report = gate(small_cycle, "sales")
    assert report.landed == report.accepted + report.quarantined + report.duplicates
    assert (report.quarantined, report.duplicates) == (2, 1)
    held = small_cycle.lake.read("quarantine", cycle=AS_OF, feed="sales").to_pylist()
    assert {row["rule"]: json.loads(row["row"])["units"] for row in held} == {
        "units_positive": 0,
        "units_plausible": 50_000,
    }
    ledger = small_cycle.lake.read("batches", cycle=AS_OF).to_pylist()
    assert [(row["landed"], row["accepted"]) for row in ledger] == [(report.landed, report.accepted)]


def test_facts_are_the_sums_of_the_accepted_lines(small_cycle: Cycle, small_market: MarketWriter) -> None:
    gate(small_cycle, "sales")
    lines = pd.read_csv(small_market().parent / "sales.csv").drop_duplicates()
    lines = lines[(lines["units"] > 0) & (lines["units"] <= 1000) & (lines["date"] <= str(AS_OF))]
    expected = lines.groupby(["sku", "date"])["units"].sum()
    facts = small_cycle.lake.as_of("sales", FEEDS["sales"].key, AS_OF).to_pandas()
    found = facts.assign(date=facts["date"].astype(str)).set_index(["item", "date"])["units"].sort_index()
    pd.testing.assert_series_equal(found, expected.sort_index(), check_names=False, check_dtype=False)


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
    assert second.as_dict() | {"docs": ""} == first.as_dict() | {"docs": ""}
    assert {table: small_cycle.lake.version(table) for table in versions} == versions


@pytest.mark.slow
def test_unknown_yesterday_late_today_is_known_from_today(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    today, tomorrow = open_cycle(file, AS_OF, home), open_cycle(file, AS_OF + timedelta(days=1), home)
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
    today, tomorrow = open_cycle(file, AS_OF, home), open_cycle(file, AS_OF + timedelta(days=1), home)
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
        ("sales", lambda sales: sales[sales["date"] <= "2021-06-01"], "newest row.*2021-06-01"),
        ("sales", lambda sales: sales.assign(units=0), "would be quarantined.*no units were sold.*5.0% is allowed"),
        (
            "sales",
            lambda sales: pd.concat([sales, sales.head(1).assign(units=3, revenue=99)]),
            "must tell rows apart.*unique_key",
        ),
    ],
)
def test_blocked_batch_leaves_the_lake_as_it_was(
    small_market: MarketWriter, home: Home, feed: FeedName, change, words: str
) -> None:
    file = small_market()
    edit(file, feed, change)
    cycle = open_cycle(file, AS_OF, home)
    collect.run(cycle, feed)
    with pytest.raises(GateError, match=words):
        validate.run(cycle, feed)
    assert not any(cycle.lake.exists(table) for table in (f"facts/{feed}", "quarantine", "batches"))


@pytest.mark.slow
def test_sudden_flood_is_blocked(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    for shift in range(2):
        gate(open_cycle(file, AS_OF + timedelta(days=shift), home), "sales")
    flood = [pd.read_csv(file.parent / "sales.csv")]
    flood += [flood[0].assign(invoice=flood[0]["invoice"] + f"-{copy}") for copy in range(9)]
    pd.concat(flood).to_csv(file.parent / "sales.csv", index=False)
    third = open_cycle(file, AS_OF + timedelta(days=2), home)
    collect.run(third, "sales")
    with pytest.raises(GateError, match="number of rows"):
        validate.run(third, "sales")


@pytest.mark.slow
def test_batch_that_another_attempt_has_committed_meanwhile_is_refused(
    small_cycle: Cycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.validate import validate as stage

    collect.run(small_cycle, "catalogue")
    check = stage.check

    def overtaken(*arguments):
        monkeypatch.setattr(stage, "check", check)
        validate.run(small_cycle, "catalogue")
        return check(*arguments)

    monkeypatch.setattr(stage, "check", overtaken)
    with pytest.raises(FencedError):
        validate.run(small_cycle, "catalogue")
    assert small_cycle.lake.read("facts/catalogue").num_rows == 20


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
    assert suites == set(FEEDS) | {f"{feed.name}_lines" for feed in FEEDS.values() if feed.lines}
