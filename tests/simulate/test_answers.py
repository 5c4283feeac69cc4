"""What the simulated sources answer: the same for any split of a window, and no more than was known on the day."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.feeds import FEEDS, FeedName, Grain
from pipeline.simulate import SimulatorSettings, truth
from pipeline.simulate.answers import GRAINS, Shop

SMALL = SimulatorSettings(
    seed=9,
    start=date(2022, 10, 1),
    days=120,
    items=25,
    locations=2,
    regions=2,
    customers=200,
    orders_a_day=60,
    late_share=0.1,
    correction_share=0.05,
    deleted_share=0.03,
    dirty_share=0.02,
)
CLEAN = SMALL.model_copy(update={"dirty_share": 0.0})
LAST = SMALL.start + timedelta(days=99)
KINDS = [(feed, grain) for feed, grains in GRAINS.items() for grain in grains]
MUCH_LATER = SMALL.end


def answer(world: SimulatorSettings, feed: FeedName, grain: Grain, since: date, until: date, as_of: date) -> pa.Table:
    contract = FEEDS[feed]
    schema = pa.schema([column.with_nullable(nullable=True) for column in contract.landed_schema(grain)])
    tables = Shop(world).answer(contract, grain, since=since, until=until, as_of=as_of)
    return pa.concat_tables([schema.empty_table(), *tables])


def lines(since: date, until: date, as_of: date, world: SimulatorSettings = CLEAN) -> pa.Table:
    return answer(world, "sales", "lines", since, until, as_of)


def by_key(table: pa.Table) -> dict[tuple[str, str], dict]:
    return {(row["order_id"], row["line"]): row for row in table.to_pylist()}


@pytest.mark.parametrize(("feed", "grain"), KINDS)
def test_rows_keep_the_feeds_contract(feed: FeedName, grain: Grain) -> None:
    table = answer(CLEAN, feed, grain, SMALL.start, LAST, LAST)
    contract = FEEDS[feed]
    assert table.num_rows
    for column in contract.landed_schema(grain):
        if not column.nullable:
            assert table[column.name].null_count == 0
    key = list(contract.landed_key(grain))
    assert table.group_by(key).aggregate([]).num_rows == table.num_rows


@pytest.mark.parametrize(("feed", "grain"), [kind for kind in KINDS if kind[0] != "catalogue"])
@settings(max_examples=3, deadline=None)
@given(cuts=st.lists(st.integers(61, 89), max_size=2, unique=True), lag=st.integers(-10, 20))
def test_window_equals_its_parts_one_after_the_other(feed, grain, cuts, lag) -> None:
    first, last = SMALL.start + timedelta(days=60), SMALL.start + timedelta(days=89)
    as_of = last + timedelta(days=lag)
    edges = [first, *(SMALL.start + timedelta(days=cut) for cut in sorted(cuts)), last + timedelta(days=1)]
    parts = [answer(SMALL, feed, grain, a, b - timedelta(days=1), as_of) for a, b in pairwise(edges)]
    whole, joined = answer(SMALL, feed, grain, first, last, as_of), pa.concat_tables(parts)
    if feed == "calendar":
        whole, joined = (table.sort_by([("date", "ascending"), ("event", "ascending")]) for table in (whole, joined))
    # As frames, since NaN, which dirt may hold, equals NaN there.
    pd.testing.assert_frame_equal(joined.to_pandas(), whole.to_pandas())


def test_same_seed_same_rows_and_another_seed_others() -> None:
    again = SimulatorSettings(**CLEAN.model_dump())
    other = CLEAN.model_copy(update={"seed": 10})
    until = SMALL.start + timedelta(days=20)
    assert lines(SMALL.start, until, until, again).equals(lines(SMALL.start, until, until))
    assert not lines(SMALL.start, until, until, other).equals(lines(SMALL.start, until, until))


def test_lines_arrive_late_and_then_stay() -> None:
    day = SMALL.start + timedelta(days=40)
    seen = [set(by_key(lines(day, day, day + timedelta(days=age)))) for age in range(25)]
    final = seen[-1]
    first_seen = {key: next(age for age, keys in enumerate(seen) if key in keys) for key in final}
    late = [age for age in first_seen.values() if age]
    assert late
    assert max(late) <= SMALL.late_days
    for key, age in first_seen.items():
        assert all(key in keys for keys in seen[age:])
    assert seen[15] == final


def test_corrected_lines_show_first_the_old_value_and_then_the_new_one() -> None:
    since, until = SMALL.start + timedelta(days=40), SMALL.start + timedelta(days=60)
    early, final = by_key(lines(since, until, until)), by_key(lines(since, until, MUCH_LATER))
    changed = [key for key in early.keys() & final.keys() if early[key] != final[key]]
    assert changed
    for key in changed:
        before, after = early[key], final[key]
        assert before["item"] == after["item"]
        in_units = before["units"] > after["units"] and before["revenue"] == after["revenue"]
        in_revenue = before["units"] == after["units"] and before["revenue"] > after["revenue"]
        assert in_units or in_revenue


def test_deleted_lines_are_there_at_first_and_never_again() -> None:
    day = SMALL.start + timedelta(days=50)
    seen = [set(by_key(lines(day - timedelta(days=9), day, day + timedelta(days=age)))) for age in range(0, 20, 2)]
    gone = seen[0] - seen[-1]
    assert gone
    for key in gone:
        last = max(age for age, keys in enumerate(seen) if key in keys)
        assert all(key in keys for keys in seen[: last + 1])


def test_lines_add_up_to_what_was_truly_sold_in_the_end() -> None:
    hidden = truth(CLEAN)
    until = SMALL.start + timedelta(days=60)
    table = lines(SMALL.start, until, MUCH_LATER)
    sold = (
        table.filter(pc.greater(table["units"], 0)).group_by(["item", "location", "date"]).aggregate([("units", "sum")])
    )
    places = {name: at for at, name in enumerate(hidden.locations)}
    items = {name: at for at, name in enumerate(hidden.items)}
    found = np.zeros_like(hidden.sold)
    for row in sold.to_pylist():
        found[(row["date"] - SMALL.start).days, places[row["location"]], items[row["item"]]] = row["units_sum"]
    assert (found[:61] == hidden.sold[:61]).all()


def test_facts_are_the_sums_of_the_lines_known_on_the_day() -> None:
    as_of = LAST - timedelta(days=1)
    table = lines(SMALL.start, LAST, as_of)
    facts = answer(CLEAN, "sales", "facts", SMALL.start, LAST, as_of)
    assert pc.sum(facts["units"]).as_py() == pc.sum(pc.max_element_wise(table["units"], 0)).as_py()
    assert pc.sum(facts["returns"]).as_py() == -pc.sum(pc.min_element_wise(table["units"], 0)).as_py()
    assert pc.sum(facts["revenue"]).as_py() == pytest.approx(pc.sum(pc.max_element_wise(table["revenue"], 0)).as_py())
    keys = ["item", "location", "date"]
    orders = (
        table.filter(pc.greater(table["units"], 0))
        .group_by(keys)
        .aggregate([("order_id", "count_distinct"), ("customer", "count_distinct")])
    )
    joined = facts.filter(pc.greater(facts["units"], 0)).join(orders, keys)
    assert joined.num_rows == orders.num_rows
    assert joined["orders"].equals(joined["order_id_count_distinct"])
    assert joined["buyers"].equals(joined["customer_count_distinct"])


def test_returns_take_back_lines_of_earlier_days() -> None:
    final = lines(SMALL.start, SMALL.end, SMALL.end).to_pylist()
    sales = {(row["order_id"], row["line"]): row for row in final if row["units"] > 0}
    returns = [row for row in final if row["units"] < 0]
    assert returns
    for back in returns:
        sold = sales[back["order_id"], back["line"].removeprefix("R")]
        assert sold["date"] < back["date"]
        for column in ("item", "location", "customer"):
            assert sold[column] == back[column]
        # A sale of the last days may still stand with the value that is corrected later.
        if back["date"] < SMALL.end - timedelta(days=20):
            assert (sold["units"], sold["revenue"]) == (-back["units"], -back["revenue"])


@pytest.mark.parametrize(
    ("feed", "grain"),
    [
        pytest.param(*kind, marks=pytest.mark.slow if kind[0] in {"sales", "behaviour"} else ())
        for kind in KINDS
        if kind[0] in {"sales", "behaviour", "stock", "prices"}
    ],
)
def test_dirt_stands_beside_the_good_rows_and_is_counted(feed: FeedName, grain: Grain) -> None:
    as_of = LAST + timedelta(days=3)
    clean = answer(CLEAN, feed, grain, SMALL.start, LAST, as_of)
    dirty = answer(SMALL, feed, grain, SMALL.start, LAST, as_of)
    counted = truth(SMALL).dirt(feed, grain, SMALL.start, LAST, as_of)
    assert sum(counted.values()) == dirty.num_rows - clean.num_rows > 0
    assert counted["missing_item"] == dirty["item"].null_count
    assert counted["unknown_item"] == pc.sum(pc.starts_with(dirty["item"], "NO-SUCH-")).as_py()
    assert counted["future_date"] == pc.sum(pc.greater(dirty["date"], pa.scalar(LAST + timedelta(days=365)))).as_py()
    distinct = dirty.group_by(dirty.schema.names).aggregate([]).num_rows
    assert counted["duplicate"] == dirty.num_rows - distinct
    assert truth(CLEAN).dirt(feed, grain, SMALL.start, LAST, as_of) == {}


def test_people_have_ids_that_look_like_ids_and_are_the_same_in_both_feeds() -> None:
    orders = lines(SMALL.start, LAST, LAST)
    events = answer(CLEAN, "behaviour", "lines", SMALL.start, LAST, LAST)
    people, visitors = (set(column.to_pylist()) for column in (orders["customer"], events["user"]))
    assert pc.all(pc.match_substring_regex(orders["customer"], "^C[0-9]{9}$")).as_py()
    assert len(people) > 100
    assert len(people & visitors) > 0.9 * len(people)


def test_events_lie_within_their_day_by_time() -> None:
    events = answer(CLEAN, "behaviour", "lines", SMALL.start, LAST, LAST)
    assert events["timestamp"].cast(pa.date32()).equals(events["date"])
    stamps = events["timestamp"].to_numpy()
    assert (np.diff(stamps) >= np.timedelta64(0)).all()
    assert set(events["event"].to_pylist()) == {"view", "search", "favourite", "cart"}


def test_plans_are_told_ahead_and_what_happens_only_after() -> None:
    as_of, far = SMALL.start + timedelta(days=50), SMALL.start + timedelta(days=110)
    for feed in ("sales", "behaviour", "stock"):
        assert pc.max(answer(CLEAN, feed, "facts", SMALL.start, far, as_of)["date"]).as_py() == as_of
    prices = answer(CLEAN, "prices", "facts", SMALL.start, far, as_of)
    assert pc.max(prices["date"]).as_py() == as_of + timedelta(days=CLEAN.plan_days)
    variables = answer(CLEAN, "market", "facts", SMALL.start, far, as_of)
    last = dict(variables.group_by("variable").aggregate([("date", "max")]).to_pandas().to_numpy())
    assert last["temperature"] == last["rain"] == last["consumer_confidence"] == as_of
    assert last["temperature_forecast"] == as_of + timedelta(days=CLEAN.forecast_days)
    assert last["advertising"] > as_of


def test_unplanned_promotions_come_as_a_surprise_and_change_planned_prices() -> None:
    far, as_of = SMALL.end, SMALL.start + timedelta(days=60)
    final = answer(CLEAN, "promotions", "facts", SMALL.start, far, far).to_pylist()
    told = answer(CLEAN, "promotions", "facts", SMALL.start, far, as_of).to_pylist()
    soon = [row for row in final if as_of < row["start"] <= as_of + timedelta(days=30)]
    assert [row for row in soon if row["planned"]] == [row for row in soon if row["planned"] and row in told]
    surprises = [row for row in soon if not row["planned"] and row["start"] > as_of + timedelta(days=1)]
    assert not any(row in told for row in surprises)
    window = (as_of + timedelta(days=1), as_of + timedelta(days=30))
    plan, came = (answer(CLEAN, "prices", "facts", *window, day)["price"] for day in (as_of, MUCH_LATER))
    assert pc.all(pc.less_equal(came, plan)).as_py()


def test_weather_forecasts_get_worse_with_the_days_ahead() -> None:
    errors: dict[int, list[float]] = {1: [], 3: [], 10: []}
    origins = [SMALL.start + timedelta(days=at) for at in range(30, 100, 2)]
    final = answer(CLEAN, "market", "facts", SMALL.start, SMALL.end, SMALL.end).to_pylist()
    was = {row["date"]: row["value"] for row in final if (row["variable"], row["region"]) == ("temperature", "north")}
    for origin in origins:
        for row in answer(CLEAN, "market", "facts", origin, origin + timedelta(days=10), origin).to_pylist():
            ahead = (row["date"] - origin).days
            if (row["variable"], row["region"]) == ("temperature_forecast", "north") and ahead in errors:
                errors[ahead].append(abs(row["value"] - was[row["date"]]))
    assert np.mean(errors[1]) < np.mean(errors[3]) < np.mean(errors[10])


def test_catalogue_tells_of_new_items_shortly_before_their_launch() -> None:
    as_of = SMALL.start + timedelta(days=30)
    early = answer(CLEAN, "catalogue", "facts", SMALL.start, as_of, as_of)
    late = answer(CLEAN, "catalogue", "facts", SMALL.start, SMALL.end, SMALL.end)
    assert early.num_rows < late.num_rows == CLEAN.items
    assert pc.max(early["launched"]).as_py() <= as_of + timedelta(days=30)


def test_nothing_is_told_of_days_outside_the_world() -> None:
    before = lines(SMALL.start - timedelta(days=50), SMALL.start - timedelta(days=1), LAST)
    after = lines(SMALL.end + timedelta(days=1), SMALL.end + timedelta(days=9), SMALL.end + timedelta(days=9))
    assert before.num_rows == after.num_rows == 0
