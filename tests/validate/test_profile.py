"""The profile of a source, against the file itself; and the draft of a suite, by letting it judge that source."""

import json
import shutil
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import collect, validate
from pipeline.cli import main
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, SourceError
from pipeline.validate.profiling import ColumnProfile, FeedProfile, draft_suite, findings_of, profile_feed, write_draft
from pipeline.validate.profiling.profile import QUANTILES
from pipeline.validate.suites import expectations_dir
from tests.conftest import AS_OF, HISTORY_START, MarketWriter


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the suites, in force for this test."""
    folder = shutil.copytree(expectations_dir(), tmp_path / "expectations", ignore=shutil.ignore_patterns("drafts"))
    monkeypatch.setenv("TRENDMILL_EXPECTATIONS", str(folder))
    return folder


@pytest.fixture
def shop(small_market: MarketWriter) -> Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]:
    """Return a function that writes the small market with its sales changed."""

    def write(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        file = small_market()
        path = file.parent / "sales.csv"
        change(pd.read_csv(path)).to_csv(path, index=False)
        return file

    return write


def clean(sales: pd.DataFrame) -> pd.DataFrame:
    return sales[(sales["units"] > 0) & (sales["units"] < 1000)].drop_duplicates()


def column(profile: FeedProfile, name: str) -> ColumnProfile:
    return next(column for column in profile.columns if column.name == name)


def known(file: Path) -> pd.DataFrame:
    sales = pd.read_csv(file.parent / "sales.csv")
    return sales[sales["date"] <= str(AS_OF)]


def test_profile_says_what_the_file_holds(small_cycle: Cycle) -> None:
    sales = known(small_cycle.market.file)
    profile = profile_feed(small_cycle, "sales")
    assert (profile.rows, profile.grain, profile.repeated_rows) == (len(sales), "lines", 1)
    units = column(profile, "units")
    assert (units.minimum, units.maximum, units.nulls) == (0, 50_000, 0)
    assert list(units.quantiles) == list(np.quantile(sales["units"], QUANTILES, method="inverted_cdf"))
    assert units.examples == tuple(str(float(value)) for value in sales["units"].value_counts().index[:3])
    item = column(profile, "item")
    assert (item.distinct, item.role, item.required) == (20, "key", True)
    assert item.known_values == tuple(sorted(sales["sku"].unique()))
    day = column(profile, "date")
    assert (day.minimum, day.maximum, day.distinct) == (HISTORY_START, AS_OF, sales["date"].nunique())
    assert column(profile, "line").null_share == 1
    assert not small_cycle.home.landing.exists()


def test_personal_columns_are_counted_and_never_shown(small_cycle: Cycle) -> None:
    customer = column(profile_feed(small_cycle, "sales"), "customer")
    assert customer.distinct == known(small_cycle.market.file)["client"].nunique()
    assert (customer.minimum, customer.maximum, customer.examples, customer.known_values) == (None, None, (), ())
    assert "customer" not in json.dumps(draft_suite(profile_feed(small_cycle, "sales")))


def test_every_feed_of_a_market_has_a_profile(small_cycle: Cycle) -> None:
    rows = {feed: profile_feed(small_cycle, feed).rows for feed in small_cycle.market.feeds if feed != "sales"}
    assert rows["catalogue"] == 20
    assert all(rows.values())


def where(row: int, **values: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return a change that puts other values into one row."""

    def change(sales: pd.DataFrame) -> pd.DataFrame:
        return sales.assign(
            **{
                name: sales[name].astype(object).where(sales.index != row, value) if name in sales else value
                for name, value in values.items()
            }
        )

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (where(3, revenue=-5), "'revenue' is negative in 1 row, the least -5"),
        (where(3, units="inf"), "'units' is no finite number in 1 row"),
        (where(3, units="x"), "'units' is missing or cannot be read in 1 row"),
        (where(3, sku="sku01 "), "1 values of 'item' differ"),
        (where(3, date="2201-01-01"), "rows about days after .* 2201-01-01"),
        (where(20, line=1, units=9), "1 row with the key of another one .order_id, line. but other values"),
        (lambda sales: sales.assign(revenue=2.5), "'revenue' says the same in every row: 2.5"),
        (lambda sales: sales, "The largest 'units' is 50,000, while 99% of rows have 3 or less"),
        (lambda sales: sales, "1 row with nothing but a repetition"),
        (lambda sales: sales[sales["date"] != "2021-07-02"], "1 of the days between .* without any row"),
    ],
)
def test_suspicious_things_are_told(shop, home: Home, change, words: str) -> None:
    findings = findings_of(profile_feed(open_cycle(shop(change), AS_OF, home), "sales"))
    assert pd.Series(findings).str.contains(words, regex=True).sum() == 1, findings


def test_clean_source_looks_clean(shop, home: Home) -> None:
    file = shop(lambda sales: clean(sales)[lambda frame: frame["date"] <= str(AS_OF)])
    assert findings_of(profile_feed(open_cycle(file, AS_OF, home), "sales")) == ()


@pytest.mark.parametrize(
    "feed",
    [
        "sales",
        *(pytest.param(feed, marks=pytest.mark.slow) for feed in ("prices", "promotions", "catalogue", "calendar")),
    ],
)
def test_draft_lets_its_own_source_pass_the_gate(shop, home: Home, suites: Path, feed: str) -> None:
    cycle = open_cycle(shop(clean), AS_OF, home)
    file = write_draft(profile_feed(cycle, feed))
    active = suites / ("sales_lines.json" if feed == "sales" else f"{feed}.json")
    draft = json.loads(file.read_text())
    assert file == suites / "drafts" / f"small_{feed}.json"
    active.write_text(json.dumps(draft | {"name": active.stem}))
    collect.run(cycle, feed)
    report = validate.run(cycle, feed)
    assert report.landed == report.accepted > 0


@pytest.mark.slow
def test_draft_refuses_what_is_far_from_its_source(shop, home: Home, suites: Path) -> None:
    file = shop(clean)
    write_draft(profile_feed(open_cycle(file, AS_OF, home), "sales")).replace(suites / "sales_lines.json")
    sales = pd.read_csv(file.parent / "sales.csv").astype({"units": object})
    sales.loc[[1, 2, 3], "units"] = [400, -1, None]
    sales.to_csv(file.parent / "sales.csv", index=False)
    cycle = open_cycle(file, AS_OF, home)
    collect.run(cycle, "sales")
    validate.run(cycle, "sales")
    rules = cycle.lake.read("quarantine", cycle=AS_OF, feed="sales")["rule"].to_pylist()
    assert sorted(rules) == ["units_plausible", "units_plausible", "units_present"]


def test_draft_loads_in_great_expectations(small_cycle: Cycle, suites: Path) -> None:
    import great_expectations as gx

    for feed in ("sales", "promotions"):
        draft = json.loads(write_draft(profile_feed(small_cycle, feed)).read_text())
        assert len(gx.ExpectationSuite(**draft).expectations) == len(draft["expectations"]) > 5


def test_draft_is_never_overwritten(small_cycle: Cycle, suites: Path) -> None:
    profile = profile_feed(small_cycle, "catalogue")
    file = write_draft(profile)
    file.write_text("edited")
    with pytest.raises(ConfigError, match="is there already"):
        write_draft(profile)
    assert file.read_text() == "edited"


def test_source_without_rows_is_told(small_market: MarketWriter, home: Home) -> None:
    file = small_market(history_start=date(2020, 1, 1))
    with pytest.raises(SourceError, match="has no rows between 2020-01-01 and 2020-06-01"):
        profile_feed(open_cycle(file, date(2020, 6, 1), home), "sales")


def test_command_prints_profile_and_draft_and_writes_it_when_told(
    small_cycle: Cycle, suites: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*words: str) -> str:
        place = [str(small_cycle.market.file), "--date", str(AS_OF)]
        monkeypatch.setattr(sys, "argv", ["trendmill", "profile", *place, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return told.out

    shown = say("--feed", "sales")
    for word in ("sales of 'small'", "units", "never shown", "Suspicious", "units_plausible", "--write keeps it"):
        assert word in shown
    assert not (suites / "drafts").exists()
    told = json.loads(say("--feed", "sales", "--json"))
    assert told["draft"]["expectations"]
    assert told["rows"] == len(known(small_cycle.market.file))
    assert "small_sales.json" in say("--feed", "sales", "--write").replace("\n", "")
    assert (suites / "drafts" / "small_sales.json").exists()
