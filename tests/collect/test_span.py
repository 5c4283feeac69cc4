"""Which days a night fetches: after nights that were killed, missed or empty, of long plans, of short memories."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError
from pipeline.feeds import FEEDS, FeedName
from tests.conftest import AS_OF, HISTORY_START, MarketWriter

DAY = timedelta(days=1)
LOOK_BACK = timedelta(days=7)
PLAN = {"item": "SKU01", "location": "all", "kind": "flyer", "depth": 0.2, "planned": True}
LONG_AGO = AS_OF - timedelta(days=40)

Night = Callable[[int], Cycle]


@pytest.fixture
def night(small_market: MarketWriter, home: Home) -> Night:
    """Return a function that opens the small market's cycle so many days after the first night."""
    file = small_market()
    return lambda shift: open_cycle(file, AS_OF + shift * DAY, home)


def gate(cycle: Cycle, feed: FeedName) -> collect.CollectReport:
    report = collect.run(cycle, feed)
    validate.run(cycle, feed)
    return report


def kill_before_ledger(cycle: Cycle, feed: FeedName) -> collect.CollectReport:
    """Leave what an attempt leaves that is killed between its facts and its line in the ledger, and no landed batch."""
    report = gate(cycle, feed)
    lines = cycle.lake.read("batches", cycle=cycle.as_of, feed=feed)
    cycle.lake.attempt("batches", cycle=cycle.as_of, feed=feed).commit(lines.slice(0, 0))
    shutil.rmtree(cycle.landing_dir(feed))
    return report


def put(cycle: Cycle, feed: FeedName, rows: pd.DataFrame) -> None:
    rows.to_parquet(cycle.market.file.parent / f"{feed}.parquet", index=False)


def prices_of(cycle: Cycle) -> pd.DataFrame:
    return pd.read_parquet(cycle.market.file.parent / "prices.parquet")


def put_plans(cycle: Cycle, *plans: dict[str, object]) -> None:
    """Let the source of promotions have these plans, and one that was over long ago."""
    old = {"start": HISTORY_START, "end": HISTORY_START + 6 * DAY}
    put(cycle, "promotions", pd.DataFrame([PLAN | old, *(PLAN | plan for plan in plans)]))


def plans_known(cycle: Cycle) -> list[tuple[date, date, float]]:
    known = cycle.lake.as_of("promotions", FEEDS["promotions"].key, cycle.as_of).to_pylist()
    return sorted((row["start"], row["end"], row["depth"]) for row in known)[1:]


def setting(cycle: Cycle, feed: FeedName, **changes: object) -> Cycle:
    """Return the cycle with other settings of a feed's source."""
    file = cycle.market.file
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["feeds"][feed] |= changes
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return open_cycle(file, cycle.as_of, cycle.home)


@pytest.mark.slow
def test_night_after_a_killed_first_one_looks_back_from_it(night: Night) -> None:
    kill_before_ledger(night(0), "prices")
    report = gate(night(3), "prices")
    assert (report.since, report.initial) == (AS_OF - LOOK_BACK, False)
    facts = night(3).lake.read("facts/prices", cycle=night(3).as_of)
    assert set(facts["known_on"].to_pylist()) == {night(3).as_of}


@pytest.mark.slow
def test_killed_first_night_is_repeated_as_the_first_whatever_has_run_since(night: Night) -> None:
    first = kill_before_ledger(night(0), "prices")
    gate(night(3), "prices")
    version = night(0).lake.version("facts/prices")
    assert gate(night(0), "prices") == first
    assert night(0).lake.version("facts/prices") == version


@pytest.mark.slow
def test_killed_later_night_is_repeated_over_all_that_it_wrote(night: Night) -> None:
    gate(night(0), "prices")
    late = prices_of(night(0))
    late.loc[pd.to_datetime(late["date"]).dt.date == AS_OF - DAY, "price"] += 1
    put(night(0), "prices", late)
    before = kill_before_ledger(night(5), "prices")
    written = sorted(map(str, night(5).lake.read("facts/prices", cycle=night(5).as_of).to_pylist()))
    assert gate(night(5), "prices") == before
    assert sorted(map(str, night(5).lake.read("facts/prices", cycle=night(5).as_of).to_pylist())) == written


@pytest.mark.slow
def test_night_looks_back_from_a_killed_one_that_the_ledger_does_not_name(night: Night) -> None:
    gate(night(0), "prices")
    kill_before_ledger(night(5), "prices")
    assert gate(night(9), "prices").since == AS_OF + 5 * DAY - LOOK_BACK


@pytest.mark.slow
def test_feed_without_anything_yet_stays_initial_until_it_has_facts(night: Night) -> None:
    plans = pd.read_parquet(night(0).market.file.parent / "promotions.parquet")
    put(night(0), "promotions", plans.head(0))
    report = gate(night(0), "promotions")
    assert (report.rows, report.initial) == (0, True)
    assert report.summary().startswith("promotions: the source has nothing yet for")
    assert gate(night(1), "promotions").initial
    put(night(0), "promotions", plans)
    report = gate(night(2), "promotions")
    assert (report.rows > 0, report.initial, report.since) == (True, True, HISTORY_START)
    known = night(2).lake.read("facts/promotions", cycle=night(2).as_of)["known_on"].to_pylist()
    assert min(known) < AS_OF - 90 * DAY
    assert gate(night(2), "promotions").initial
    assert not gate(night(3), "promotions").initial
    assert not gate(night(1), "promotions").initial, "facts of another night have come since"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "known"),
    [
        ([{"start": LONG_AGO, "end": AS_OF + 2 * DAY}], [(LONG_AGO, AS_OF + 2 * DAY, 0.2)]),
        ([{"start": LONG_AGO, "end": AS_OF + 20 * DAY, "depth": 0.5}], [(LONG_AGO, AS_OF + 20 * DAY, 0.5)]),
        ([], []),
    ],
    ids=["shortened", "deepened", "cancelled"],
)
def test_change_of_a_plan_that_began_before_the_look_back_is_seen(
    night: Night, changed: list[dict[str, object]], known: list[tuple[date, date, float]]
) -> None:
    put_plans(night(0), {"start": LONG_AGO, "end": AS_OF + 20 * DAY})
    gate(night(0), "promotions")
    put_plans(night(0), *changed)
    assert gate(night(1), "promotions").since == LONG_AGO
    assert plans_known(night(1)) == known
    assert plans_known(night(0)) == [(LONG_AGO, AS_OF + 20 * DAY, 0.2)]


@pytest.mark.slow
def test_plan_that_is_known_to_be_over_does_not_widen_the_window(night: Night) -> None:
    put_plans(night(0), {"start": LONG_AGO, "end": AS_OF + 20 * DAY})
    gate(night(0), "promotions")
    put_plans(night(0), {"start": LONG_AGO, "end": AS_OF - 20 * DAY})
    gate(night(1), "promotions")
    assert gate(night(2), "promotions").since == AS_OF + DAY - LOOK_BACK


@pytest.mark.slow
def test_days_that_the_source_holds_no_longer_are_not_asked_for(night: Night) -> None:
    gate(setting(night(0), "prices", keeps_days=30), "prices")
    assert collect.landed(night(0), "prices").since == AS_OF - 30 * DAY
    prices = prices_of(night(0))
    put(night(0), "prices", prices[pd.to_datetime(prices["date"]).dt.date >= AS_OF + 10 * DAY])
    report = gate(setting(night(13), "prices", keeps_days=3), "prices")
    assert (report.since, report.lost_since, report.lost_until) == (AS_OF + 10 * DAY, AS_OF + DAY, AS_OF + 9 * DAY)
    assert f"Nobody knows {AS_OF + DAY} to {AS_OF + 9 * DAY} any more" in report.summary()
    assert night(13).lake.as_of("prices", FEEDS["prices"].key, AS_OF).num_rows > 0
    again = collect.run(night(14), "prices")
    assert (again.since, again.lost_since) == (AS_OF + 11 * DAY, None)


def test_feed_about_no_day_is_not_kept_for_some_days(night: Night) -> None:
    with pytest.raises(ConfigError, match=r"feeds\.catalogue\.keeps_days .* is about no day; remove it"):
        collect.run(setting(night(0), "catalogue", keeps_days=3), "catalogue")


@pytest.mark.slow
def test_first_run_of_an_older_cycle_warns_of_the_newer_one(night: Night) -> None:
    gate(night(0), "prices")
    gate(night(9), "prices")
    report = gate(night(4), "prices")
    assert report.newer_cycle == night(9).as_of
    assert f"The cycle of {night(9).as_of} has collected this feed before" in report.summary()
    assert gate(night(4), "prices").newer_cycle is None


def test_report_is_plain_json(night: Night) -> None:
    told = collect.run(night(0), "prices").as_dict()
    assert pa.array([told]).type.num_fields == len(told)
