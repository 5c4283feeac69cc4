"""What the lake would lose: a shortened or an empty answer takes nothing back but what may be withdrawn."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from pipeline import validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import GateError
from pipeline.feeds import FEEDS, FeedName
from tests.conftest import AS_OF, HISTORY_START, MarketWriter
from tests.validate.batches import ALL_FEEDS, NEXT_DAY, known, lake_of, put

AHEAD = AS_OF + timedelta(days=14)
OLDER = [AS_OF - timedelta(days=shift) for shift in reversed(range(20))]
LOOK_BACK: dict[str, Any] = {"since": AS_OF - timedelta(days=7), "initial": False}


def one_place(day: date, item: int) -> dict[str, Any]:
    return {"item": f"SKU{item:02}", "location": "all", "date": day}


FACTS: dict[FeedName, Callable[[date, int], dict[str, Any]]] = {
    "sales": lambda day, item: one_place(day, item) | {"units": 2.0},
    "behaviour": lambda day, item: one_place(day, item) | {"views": 5},
    "stock": lambda day, item: one_place(day, item) | {"on_hand": 7.0},
    "prices": lambda day, item: one_place(day, item) | {"price": 3.0},
    "market": lambda day, item: {
        "variable": f"rain {item}", "region": "*", "location": "*", "item": "*", "date": day, "value": 1.0,
    },
    "promotions": lambda day, item: {
        "item": f"SKU{item:02}", "category": "*", "location": "*", "start": day, "end": day, "kind": "coupon",
        "depth": 0.1,
    },
    "calendar": lambda day, item: {"country": f"C{item}", "date": day, "event": "Fair", "kind": "local"},
    "catalogue": lambda _day, item: {"item": f"SKU{item:02}", "title": "Thing"},
}  # fmt: skip
"""How a fact of each feed may look."""


def facts(feed: FeedName, days: list[date], items: int = 12) -> list[dict[str, Any]]:
    return [FACTS[feed](day, item) for day in days for item in range(items)]


def gate(cycle: Cycle, feed: FeedName, rows: list[dict[str, Any]], **window: Any) -> validate.ValidateReport:
    put(cycle, feed, rows, "facts", **window)
    return validate.run(cycle, feed)


@pytest.fixture
def tonight(small_market: MarketWriter, home: Home) -> Cycle:
    return open_cycle(small_market(feeds=ALL_FEEDS), AS_OF, home)


@pytest.fixture
def tomorrow(tonight: Cycle) -> Cycle:
    return Cycle(tonight.market, NEXT_DAY, tonight.home)


@pytest.mark.parametrize(
    ("feed", "items", "left", "window"),
    [
        ("sales", 12, OLDER[10:], {}),
        ("sales", 1, OLDER[15:], {}),
        ("sales", 12, OLDER[10:], {"since": OLDER[10]}),
        ("stock", 12, [], {}),
        ("market", 1, [], {}),
        ("promotions", 1, [], {}),
        ("calendar", 1, [], {}),
    ],
)
def test_first_load_is_not_repeated_with_a_source_that_has_shortened(
    tonight: Cycle, feed: FeedName, items: int, left: list[date], window: dict[str, Any]
) -> None:
    gate(tonight, feed, facts(feed, OLDER, items))
    before = lake_of(tonight)
    with pytest.raises(GateError, match=rf"landed of {OLDER[0]}, .*, \.\.\., of which this very cycle.*'forgotten"):
        gate(tonight, feed, facts(feed, left, items), **window)
    assert lake_of(tonight) == before


@pytest.mark.parametrize("later_nights", [0, 1])
def test_old_night_is_not_repeated_with_a_source_that_has_dropped_it(tomorrow: Cycle, later_nights: int) -> None:
    tonight = Cycle(tomorrow.market, AS_OF, tomorrow.home)
    gate(tonight, "sales", facts("sales", OLDER))
    for shift in range(later_nights + 1):
        night = Cycle(tonight.market, NEXT_DAY + timedelta(days=shift), tonight.home)
        days = [night.as_of - timedelta(days=back) for back in range(8)]
        gate(night, "sales", facts("sales", days), since=min(days), initial=False)
    before = lake_of(tomorrow)
    with pytest.raises(GateError, match=rf"too little landed of {NEXT_DAY}, of which this very cycle has known"):
        gate(tomorrow, "sales", facts("sales", OLDER[-8:]), **LOOK_BACK)
    assert lake_of(tomorrow) == before


def test_first_load_may_be_repeated_with_corrections(tonight: Cycle) -> None:
    gate(tonight, "sales", facts("sales", OLDER))
    corrected = [fact | {"units": 9.0} for fact in facts("sales", OLDER, items=7)]
    gate(tonight, "sales", corrected)
    assert [fact["units"] for fact in known(tonight, "sales")] == [9.0] * len(corrected)


def test_later_night_may_be_repeated_with_corrections(tonight: Cycle, tomorrow: Cycle) -> None:
    gate(tonight, "sales", facts("sales", OLDER))
    days = [*OLDER[-8:], NEXT_DAY]
    gate(tomorrow, "sales", facts("sales", days), **LOOK_BACK)
    corrected = [fact | {"units": 9.0} for fact in facts("sales", days, items=7)]
    gate(tomorrow, "sales", corrected, **LOOK_BACK)
    assert [fact["units"] for fact in known(tomorrow, "sales") if fact["date"] in days] == [9.0] * len(corrected)
    assert {fact["units"] for fact in known(tonight, "sales")} == {2.0}


def test_few_facts_may_all_be_taken_back_where_others_have_come(tonight: Cycle, tomorrow: Cycle) -> None:
    gate(tonight, "sales", facts("sales", [AS_OF], items=3))
    gate(tomorrow, "sales", facts("sales", [NEXT_DAY], items=2), **LOOK_BACK)
    assert {fact["date"] for fact in known(tomorrow, "sales")} == {NEXT_DAY}


@pytest.mark.parametrize(("feed", "items"), [("behaviour", 12), ("stock", 1), ("prices", 12), ("market", 1)])
def test_empty_answer_about_observed_days_is_refused(
    tonight: Cycle, tomorrow: Cycle, feed: FeedName, items: int
) -> None:
    gate(tonight, feed, facts(feed, OLDER, items))
    before = lake_of(tonight)
    with pytest.raises(GateError, match=r"whose facts the lake holds and would lose; .* keeps_days .*'emptied_days'"):
        gate(tomorrow, feed, [], **LOOK_BACK)
    assert lake_of(tonight) == before


def test_answer_of_plans_alone_is_refused_where_observed_days_are_missing(tonight: Cycle, tomorrow: Cycle) -> None:
    gate(tonight, "prices", facts("prices", [*OLDER, NEXT_DAY, AHEAD], 1), until=AHEAD)
    with pytest.raises(GateError, match=f"too little landed of {LOOK_BACK['since']}, .*'emptied_days'"):
        gate(tomorrow, "prices", facts("prices", [AHEAD], 9), until=AHEAD, **LOOK_BACK)


def test_last_plan_that_is_cancelled_is_gone_from_that_night_on(tonight: Cycle, tomorrow: Cycle) -> None:
    older, begun, planned = OLDER[0], AS_OF - timedelta(days=1), AS_OF + timedelta(days=9)
    gate(tonight, "promotions", facts("promotions", [older, begun, planned], 2), until=AHEAD)
    report = gate(tomorrow, "promotions", [], until=AHEAD, **LOOK_BACK)
    assert (report.landed, report.accepted, report.quarantined, report.revised) == (0, 0, 0, 4)
    assert {fact["start"] for fact in known(tomorrow, "promotions")} == {older}
    assert {fact["start"] for fact in known(tonight, "promotions")} == {older, begun, planned}
    assert gate(tomorrow, "promotions", [], until=AHEAD, **LOOK_BACK).as_dict() == report.as_dict()
    (line,) = tomorrow.lake.read("batches", cycle=NEXT_DAY).to_pylist()
    assert (line["landed"], line["revised"], line["initial"]) == (0, 4, False)


def test_catalogue_is_not_emptied(tonight: Cycle, tomorrow: Cycle) -> None:
    gate(tonight, "catalogue", facts("catalogue", [AS_OF]))
    before = lake_of(tonight)
    for cycle in (tonight, tomorrow):
        with pytest.raises(GateError, match=r"nothing landed, where the lake holds 12 facts.*'emptied_feed'"):
            gate(cycle, "catalogue", [])
        assert lake_of(tonight) == before
    assert gate(tomorrow, "catalogue", facts("catalogue", [AS_OF], items=5), initial=False).revised == 12 - 5


@pytest.mark.parametrize("feed", sorted(set(FEEDS) - {"sales"}))
def test_optional_feed_may_have_nothing_yet(tonight: Cycle, tomorrow: Cycle, feed: FeedName) -> None:
    report = gate(tonight, feed, [], until=AHEAD)
    assert (report.landed, report.accepted, report.quarantined, report.revised) == (0, 0, 0, 0)
    assert known(tonight, feed) == []
    (line,) = tonight.lake.read("batches").to_pylist()
    assert (line["feed"], line["landed"], line["since"], line["initial"]) == (feed, 0, HISTORY_START, True)
    assert gate(tomorrow, feed, facts(feed, [AS_OF])).revised == 12
