"""Collecting: what lands, over which window, and the sentence for each thing that can be wrong with a source."""

from datetime import timedelta

import pandas as pd
import pytest

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, SourceError, StageError
from tests.conftest import AS_OF, DATA_END, HISTORY_START, MarketWriter


def test_first_collection_lands_the_history_and_nothing_after_the_day(small_cycle: Cycle) -> None:
    report = collect.run(small_cycle, "sales")
    landed = collect.landed(small_cycle, "sales")
    days = landed.read()["date"].to_pylist()
    assert (report.since, report.until, report.initial) == (HISTORY_START, AS_OF, True)
    assert (min(days), max(days)) == (HISTORY_START, AS_OF)
    assert report.rows == landed.rows == len(days)


@pytest.mark.slow
def test_later_collection_looks_back_only_as_far_as_the_market_says(small_cycle: Cycle) -> None:
    collect.run(small_cycle, "sales")
    validate.run(small_cycle, "sales")
    tomorrow = Cycle(small_cycle.market, AS_OF + timedelta(days=1), small_cycle.home)
    report = collect.run(tomorrow, "sales")
    assert (report.since, report.initial) == (AS_OF - timedelta(days=7), False)


@pytest.mark.slow
def test_missed_nights_are_fetched_by_the_next_one(small_cycle: Cycle) -> None:
    collect.run(small_cycle, "sales")
    validate.run(small_cycle, "sales")
    later = Cycle(small_cycle.market, AS_OF + timedelta(days=20), small_cycle.home)
    assert collect.run(later, "sales").since == AS_OF - timedelta(days=7)


def test_plans_are_fetched_ahead_of_the_day(small_cycle: Cycle) -> None:
    collect.run(small_cycle, "promotions")
    starts = collect.landed(small_cycle, "promotions").read()["start"].to_pylist()
    assert AS_OF < max(starts) <= AS_OF + timedelta(days=small_cycle.market.plan_ahead_days)


def test_collecting_again_replaces_what_landed(small_cycle: Cycle) -> None:
    first = collect.run(small_cycle, "prices")
    assert collect.run(small_cycle, "prices") == first
    folder = small_cycle.landing_dir("prices")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_missing_column_is_named_with_those_that_are_there(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    sales = pd.read_csv(file.parent / "sales.csv").rename(columns={"units": "pieces"})
    sales.to_csv(file.parent / "sales.csv", index=False)
    cycle = open_cycle(file, AS_OF, home)
    with pytest.raises(SourceError, match=r"lack the column 'units'.*pieces.*feeds\.sales\.columns"):
        collect.run(cycle, "sales")
    assert not cycle.landing_dir("sales").exists()


def test_empty_source_is_refused_and_leaves_nothing(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    pd.read_csv(file.parent / "sales.csv").head(0).to_csv(file.parent / "sales.csv", index=False)
    cycle = open_cycle(file, AS_OF, home)
    with pytest.raises(SourceError, match="'sales' has no rows between"):
        collect.run(cycle, "sales")
    with pytest.raises(StageError, match="Nothing of the feed 'sales' has landed"):
        collect.landed(cycle, "sales")


def test_missing_file_is_named(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    (file.parent / "sales.csv").unlink()
    with pytest.raises(SourceError, match=r"reads 'sales\.csv', but there is no such file"):
        collect.run(open_cycle(file, AS_OF, home), "sales")


def test_file_that_is_not_what_its_ending_says_is_told(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    (file.parent / "prices.parquet").write_text("not parquet at all")
    with pytest.raises(SourceError, match=r"'prices\.parquet' of the market 'small' cannot be read"):
        collect.run(open_cycle(file, AS_OF, home), "prices")


@pytest.mark.slow
def test_repeated_cycle_looks_at_its_own_window_whatever_has_run_since(small_cycle: Cycle) -> None:
    nights = [Cycle(small_cycle.market, AS_OF + timedelta(days=shift), small_cycle.home) for shift in (0, 1, 14)]
    first = []
    for night in nights:
        first.append(collect.run(night, "sales"))
        validate.run(night, "sales")
    facts = small_cycle.lake.version("facts/sales")
    for night, before in zip(nights, first, strict=True):
        assert collect.run(night, "sales") == before
        validate.run(night, "sales")
    assert small_cycle.lake.version("facts/sales") == facts


@pytest.mark.slow
def test_optional_feed_may_have_nothing_to_say_on_a_later_night(small_market: MarketWriter, home: Home) -> None:
    file = small_market(plan_ahead_days=0)
    today, later = open_cycle(file, AS_OF, home), open_cycle(file, AS_OF + timedelta(days=7), home)
    collect.run(today, "promotions")
    validate.run(today, "promotions")
    path = file.parent / "promotions.parquet"
    plans = pd.read_parquet(path)
    plans[pd.to_datetime(plans["end"]).dt.date < AS_OF - timedelta(days=7)].to_parquet(path)
    report = collect.run(later, "promotions")
    assert (report.rows, report.initial) == (0, False)
    validate.run(later, "promotions")
    starts = later.lake.as_of("promotions", ("item", "location", "start", "kind"), later.as_of)["start"].to_pylist()
    assert max(starts) < report.since, "nothing is an answer: those plans have been cancelled"


def test_nothing_is_collected_for_a_day_that_the_sales_do_not_cover(small_market: MarketWriter, home: Home) -> None:
    later = open_cycle(small_market(), DATA_END + timedelta(days=5), home)
    for feed in ("prices", "calendar"):
        with pytest.raises(SourceError, match="sales of 'small' have nothing between"):
            collect.run(later, feed)
    assert not home.landing.exists()


@pytest.mark.slow
def test_unreadable_days_come_every_night(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    sales = pd.read_csv(file.parent / "sales.csv")
    sales.loc[sales.index[100:150], "date"] = "some day"
    sales.to_csv(file.parent / "sales.csv", index=False)
    today, tomorrow = open_cycle(file, AS_OF, home), open_cycle(file, AS_OF + timedelta(days=1), home)
    collect.run(today, "sales")
    assert validate.run(today, "sales").quarantined == 50 + 2
    assert not collect.run(tomorrow, "sales").initial
    assert collect.landed(tomorrow, "sales").undated == 50


def test_rows_without_a_day_are_no_sales_of_the_as_of_day(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    sales = pd.read_csv(file.parent / "sales.csv").query("date < @AS_OF.replace(day=1).isoformat()")
    sales.loc[sales.index[:9], "date"] = "some day"
    sales.to_csv(file.parent / "sales.csv", index=False)
    cycle = open_cycle(file, AS_OF, home)
    with pytest.raises(SourceError, match="sales of 'small' have nothing between"):
        collect.run(cycle, "prices")


def test_sales_that_have_landed_are_not_asked_for_again(small_cycle: Cycle) -> None:
    collect.run(small_cycle, "sales")
    (small_cycle.market.file.parent / "sales.csv").unlink()
    assert collect.run(small_cycle, "prices").rows


def test_mapping_of_a_column_that_the_feed_does_not_have_is_refused(small_market: MarketWriter, home: Home) -> None:
    feeds = {"sales": {"source": "files", "path": "sales.csv", "columns": {"revenu": "turnover"}}}
    with pytest.raises(ConfigError, match=r"feeds\.sales\.columns .* 'revenu', which is no column"):
        collect.run(open_cycle(small_market(feeds=feeds), AS_OF, home), "sales")


def test_unknown_feed_is_refused(small_cycle: Cycle) -> None:
    with pytest.raises(ConfigError, match="no feed 'stock'"):
        collect.run(small_cycle, "stock")


def test_folder_of_files_reads_like_one(small_market: MarketWriter, home: Home) -> None:
    whole = collect.run(open_cycle(small_market(), AS_OF, home), "sales")
    file = small_market()
    sales = pd.read_csv(file.parent / "sales.csv")
    (file.parent / "parts").mkdir()
    for number, part in sales.groupby(sales.index % 3):
        part.to_csv(file.parent / "parts" / f"{number}.csv", index=False)
    file.write_text(file.read_text().replace("path: sales.csv", "path: parts"))
    assert collect.run(open_cycle(file, AS_OF, home), "sales").rows == whole.rows


def test_complete_journey_counts_its_days_in_the_shops_time(home: Home) -> None:
    cycle = open_cycle("complete_journey", HISTORY_START.replace(year=2017, month=1, day=10), home)
    collect.run(cycle, "sales")
    days = set(collect.landed(cycle, "sales").read()["date"].to_pylist())
    assert (min(days), max(days), len(days)) == (cycle.market.history_start, cycle.as_of, 10)
