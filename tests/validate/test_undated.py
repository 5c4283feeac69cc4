"""Rows whose day cannot be read: they come every night, are counted each time, and are held against a batch once."""

from datetime import date, timedelta
from typing import Any

import pytest

from pipeline import validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import GateError
from pipeline.validate import validate as stage
from pipeline.validate.quarantine import Choice, bad_rows
from tests.conftest import AS_OF, MarketWriter
from tests.validate.batches import ALL_FEEDS, NEXT_DAY, known, lake_of, line, put

LOOK_BACK: dict[str, Any] = {"since": AS_OF - timedelta(days=2), "initial": False}
UNDATED = [line(order_id=f"U{number}", date=None, customer="ann") for number in range(3)]


@pytest.fixture
def tonight(small_market: MarketWriter, home: Home) -> Cycle:
    """Return the first night of a market with all feeds: 100 order lines have passed the gate, 3 had no day."""
    cycle = open_cycle(small_market(feeds=ALL_FEEDS), AS_OF, home)
    put(cycle, "sales", [*UNDATED, *(line(order_id=f"A{number}") for number in range(100))])
    assert validate.run(cycle, "sales").quarantined == len(UNDATED)
    return cycle


@pytest.fixture
def tomorrow(tonight: Cycle) -> Cycle:
    return Cycle(tonight.market, NEXT_DAY, tonight.home)


def orders(day: date) -> list[dict[str, Any]]:
    return [line(order_id=f"{day}-{number}", date=day) for number in range(4)]


def ids(cycle: Cycle) -> list[str]:
    return sorted(cycle.lake.read("quarantine", cycle=cycle.as_of)["id"].to_pylist())


def test_rows_that_the_quarantine_held_already_do_not_block_a_small_batch(tonight: Cycle, tomorrow: Cycle) -> None:
    put(tomorrow, "sales", [*UNDATED, *orders(AS_OF), *orders(NEXT_DAY)], **LOOK_BACK)
    report = validate.run(tomorrow, "sales")
    assert (report.landed, report.accepted, report.quarantined) == (11, 8, 3)
    assert ids(tomorrow) == ids(tonight)
    assert validate.run(tomorrow, "sales").as_dict() == report.as_dict()


@pytest.mark.parametrize("fresh", [UNDATED[0] | {"order_id": "new"}, UNDATED[0] | {"customer": "bob"}])
def test_further_rows_without_a_day_do(tomorrow: Cycle, fresh: dict[str, Any]) -> None:
    put(tomorrow, "sales", [*UNDATED, fresh, *orders(AS_OF), *orders(NEXT_DAY)], **LOOK_BACK)
    before = lake_of(tomorrow)
    with pytest.raises(GateError, match=r"11\.1% of its rows would be quarantined, most because date is missing"):
        validate.run(tomorrow, "sales")
    assert lake_of(tomorrow) == before


def test_key_that_may_stand_in_a_row_without_a_day_is_not_gone(small_market: MarketWriter, home: Home) -> None:
    tonight = open_cycle(small_market(gate={"max_quarantined_share": 1}), AS_OF, home)
    days = [AS_OF - timedelta(days=shift) for shift in range(2)]
    put(tonight, "sales", [line(date=day, item=item) for day in days for item in ("SKU01", "SKU02", "SKU03")])
    validate.run(tonight, "sales")
    tomorrow = Cycle(tonight.market, NEXT_DAY, home)
    spoilt = [line(item="SKU02", date=None), line(item="SKU03", date=None, location="elsewhere")]
    put(tomorrow, "sales", [*(line(date=day) for day in days), *spoilt], **LOOK_BACK)
    stage._validated(tomorrow, "sales", slice_rows=2)
    assert [fact["item"] for fact in known(tomorrow, "sales")] == ["SKU01", "SKU01", "SKU02", "SKU02"]


def test_more_of_them_than_fit_a_slice_are_refused_before_they_are_looked_at(tomorrow: Cycle) -> None:
    put(tomorrow, "sales", [*UNDATED, *orders(NEXT_DAY)], **LOOK_BACK)
    before = lake_of(tomorrow)
    with pytest.raises(GateError, match=r"'date' cannot be read in 3 of its 7 rows, and no more than 2 can"):
        stage._validated(tomorrow, "sales", slice_rows=2)
    assert lake_of(tomorrow) == before
    assert stage._validated(tomorrow, "sales", slice_rows=3).accepted == 4


def test_row_that_does_not_come_again_was_mended_in_its_source(tomorrow: Cycle) -> None:
    put(tomorrow, "sales", [*UNDATED[1:], *orders(NEXT_DAY)], **LOOK_BACK)
    validate.run(tomorrow, "sales")
    standing = {row.content["order_id"]: row.status for row in bad_rows(tomorrow.lake, Choice())}
    assert standing == {"U0": "gone", "U1": "open", "U2": "open"}


def test_batch_of_nothing_else_is_an_answer_where_plans_may_be_cancelled(tonight: Cycle, tomorrow: Cycle) -> None:
    plan = {"item": "SKU01", "category": "*", "location": "*", "start": NEXT_DAY, "end": NEXT_DAY, "kind": "coupon"}
    plans = [plan | {"depth": number / 100, "item": f"SKU{number:02}"} for number in range(1, 31)]
    undated = plans[0] | {"item": "SKU99", "start": None}
    window = {"until": AS_OF + timedelta(days=10)}
    put(tonight, "promotions", [*plans, undated], "facts", **window)
    assert validate.run(tonight, "promotions").quarantined == 1
    put(tomorrow, "promotions", [undated], "facts", **window | LOOK_BACK)
    report = validate.run(tomorrow, "promotions")
    assert (report.landed, report.quarantined, report.revised) == (1, 1, 30)
    assert known(tomorrow, "promotions") == []
