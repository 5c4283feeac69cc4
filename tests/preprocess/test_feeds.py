"""What each feed says stands at its series and day, and nothing that was learnt later does."""

from collections.abc import Callable
from dataclasses import fields
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import StageError
from pipeline.preprocess.panel import NEVER
from pipeline.preprocess.titles import TITLE_TRAITS, title_clusters, title_vectors
from tests.preprocess.conftest import AS_OF, ITEMS, LOCATIONS, START, World, known, past, random_sales, row_of, shared

DAYS = (AS_OF - START).days + 1


def day(number: int) -> date:
    return START + timedelta(days=number)


def rows(item: str, location: str, days: range, **values: object) -> pd.DataFrame:
    return pd.DataFrame([{"item": item, "location": location, "date": day(number)} | values for number in days])


def every_day(units: float = 2) -> pd.DataFrame:
    return pd.concat([rows(item, place, range(DAYS), units=units) for item in ITEMS for place in LOCATIONS])


def test_a_day_out_of_stock_is_unknown_and_no_zero(world: Callable[..., World]) -> None:
    sales = every_day()
    sold_out = (sales["item"] == "cup") & (sales["location"] == "north") & sales["date"].isin([day(40), day(41)])
    made = world(feeds=["sales", "stock"], sales=sales[~sold_out])
    shares = {39: 1.0, 40: 0.0, 41: 0.49, 42: 0.5, 43: 0.1}
    told = [rows("cup", "north", range(n, n + 1), on_hand=0.0, in_stock_share=share) for n, share in shares.items()]
    by_hand = [
        rows("pan", "south", range(40, 41), on_hand=0.0),
        rows("pan", "south", range(41, 42), on_hand=7.0),
    ]
    sold = made.cycle.lake
    assert sold.exists("facts/sales")
    made.put("stock", pd.concat([*told, *by_hand]))
    panel = made.panel()
    cup, pan = row_of(panel, "cup/north"), row_of(panel, "pan/south")
    assert np.flatnonzero(~panel.observed[cup]).tolist() == [40, 41, 43]
    np.testing.assert_allclose(panel.available[cup, 39:44], list(shares.values()))
    assert panel.y[cup, 43] == 0  # two were sold before it ran out: no demand to learn from
    assert panel.observed[pan].all()  # nothing was left, but something was sold
    assert (panel.available[row_of(panel, "pot/north")] == 1).all()


def test_nothing_on_hand_and_nothing_sold_is_out_of_stock(world: Callable[..., World]) -> None:
    sales = every_day()
    gone = (sales["item"] == "pan") & sales["date"].between(day(50), day(52))
    made = world(feeds=["sales", "stock"], sales=sales[~gone])
    made.put("stock", rows("pan", "north", range(50, 53), on_hand=0.0))
    panel = made.panel()
    assert np.flatnonzero(~panel.observed[row_of(panel, "pan/north")]).tolist() == [50, 51, 52]
    assert panel.observed[row_of(panel, "pan/south")].all()
    assert (panel.y[row_of(panel, "pan/south"), 50:53] == 0).all()


def test_a_week_counts_by_the_share_of_its_days_in_stock(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "stock"], sales=every_day())
    days = [rows("cup", "north", range(14 + n, 15 + n), in_stock_share=share) for n, share in enumerate([0.0] * 4)]
    less = [rows("cup", "north", range(21 + n, 22 + n), in_stock_share=1.0 if n else 0.0) for n in range(7)]
    weekly = rows("pan", "north", range(34, 35), on_hand=0.0)  # a Sunday's count of a week in which two a day sold
    made.put("stock", pd.concat([*days, *less, weekly]))
    panel = made.panel()
    cup = row_of(panel, "cup/north")
    assert np.flatnonzero(~panel.observed[cup]).tolist() == [2]
    assert panel.available[cup, 3] == pytest.approx(6 / 7)
    assert panel.observed[row_of(panel, "pan/north")].all()


def test_behaviour_is_of_the_past_in_logs(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "behaviour"])
    made.put("behaviour", rows("cup", "north", range(10, 12), views=99, cart_adds=9))
    panel = made.panel()
    assert panel.past_names == ("views", "cart_adds")  # a source that gives no more has no more columns
    views = past(panel, "views", "cup/north")
    np.testing.assert_allclose(views[9:13], [0, np.log(100), np.log(100), 0], rtol=1e-6)
    assert not past(panel, "views", "cup/south").any()
    weekly = world(frequency="W", name="weeks", feeds=["sales", "behaviour"])
    weekly.put("behaviour", rows("cup", "north", range(10, 12), views=99))
    assert past(weekly.panel(), "views", "cup/north")[1] == pytest.approx(np.log1p(198))


@pytest.mark.parametrize("reach", [13, 14])
def test_prices_are_known_ahead_where_their_plan_reaches_the_horizon(world: Callable[..., World], reach: int) -> None:
    made = world(feeds=["sales", "prices"])
    made.put("prices", rows("cup", "north", range(DAYS + reach - 5), list_price=4.0, price=4.0))
    made.put(
        "prices", rows("cup", "north", range(DAYS + reach - 5, DAYS + reach), list_price=4.0, price=2.0), learnt=AS_OF
    )
    panel = made.panel()
    if reach < 14:
        assert panel.known_names == ()
        assert panel.past_names == ("log_price", "price_ratio", "discount")
        return
    assert panel.known_names == ("log_price", "price_ratio", "discount")
    np.testing.assert_allclose(known(panel, "discount", "cup/north")[-6:], [0] + [0.5] * 5)
    assert known(panel, "price_ratio", "cup/north")[-1] == pytest.approx(np.log(2 / ((51 * 4 + 5 * 2) / 56)), rel=1e-5)
    assert not known(panel, "discount", "pan/north").any()


def test_a_weekly_plan_may_be_dated_by_mondays(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "prices"])
    mondays = pd.concat([rows("cup", "north", range(n, n + 1), price=4.0) for n in range(0, DAYS + 28, 7)])
    made.put("prices", mondays)
    assert made.panel().known_names == ("log_price", "price_ratio", "discount")


def test_daily_promotions_reach_every_item_a_category_or_one(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "promotions", "catalogue"])
    made.put("catalogue", pd.DataFrame({"item": ["cup", "pan"], "category": ["glass", "metal"]}))
    named = [
        ("*", "*", "*", 5, 5, "festival", 0.1),
        ("*", "glass", "north", 20, 21, "coupon", 0.2),
        ("cup", "*", "north", 21, 22, "coupon", 0.4),
        ("cup", "metal", "*", 30, 40, "coupon", 0.9),
    ]
    made.put(
        "promotions",
        pd.DataFrame(
            {"item": i, "category": c, "location": p, "start": day(s), "end": day(e), "kind": k, "depth": d}
            for i, c, p, s, e, k, d in named
        ),
    )
    panel = made.panel()
    assert (panel.known[:, 5, panel.known_names.index("promotion_festival")] == np.float32(0.1)).all()
    np.testing.assert_allclose(known(panel, "promotion_coupon", "cup/north")[19:24], [0, 0.2, 0.4, 0.4, 0])
    for other in ("cup/south", "pan/north", "pot/north"):
        assert not known(panel, "promotion_coupon", other).any()


def test_a_variable_known_afterwards_has_no_future(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "market"], variables={"rain": {"fill": "zero"}, "open": {"known": "ahead"}})
    one = {"region": "*", "location": "*", "item": "*"}
    values = pd.DataFrame(
        [
            {"variable": "rain", "date": day(3), "value": 8.0} | one,
            {"variable": "open", "date": day(DAYS + 2), "value": 1.0} | one,
            {"variable": "unread", "date": day(3), "value": 1.0} | one | {"region": "nowhere"},
        ]
    )
    made.put("market", values)
    panel = made.panel()
    assert panel.past_names == ("market_rain",)
    for series in panel.unique_id:
        np.testing.assert_array_equal(np.flatnonzero(past(panel, "market_rain", str(series))), [3])
    assert "market_rain" not in panel.shared_names
    np.testing.assert_array_equal(np.flatnonzero(shared(panel, "market_open")), np.arange(DAYS + 2, DAYS + 14))


def test_a_region_without_locations_is_named(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "market"], variables={"rain": {}})
    row = {"variable": "rain", "region": "coast", "location": "*", "item": "*", "date": day(1), "value": 1.0}
    made.put("market", pd.DataFrame([row]))
    with pytest.raises(StageError, match=r"'world' speaks of the region 'coast', .* add 'coast: \["):
        made.panel()


def test_a_region_may_have_no_locations(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "market"], variables={"rain": {}}, regions={"coast": ["north"], "moon": []})
    places = [("moon", "*", "*"), ("moon", "*", "cup"), ("coast", "*", "pan"), ("coast", "south", "*")]
    row = {"variable": "rain", "date": day(1), "value": 1.0}
    made.put("market", pd.DataFrame(row | {"region": r, "location": p, "item": i} for r, p, i in places))
    panel = made.panel()
    rained = {name for name in panel.unique_id.tolist() if past(panel, "market_rain", name).any()}
    assert rained == {"pan/north"}


def test_kinds_of_events_have_their_own_columns(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "calendar"])
    events = {"public_holiday": [88], "festival": [100], "pay_day": [24, 55, 83]}
    made.put(
        "calendar",
        pd.DataFrame(
            {"country": "GB", "date": day(number), "event": f"{kind} {number}", "kind": kind}
            for kind, days in events.items()
            for number in days
        ),
    )
    panel = made.panel()
    for kind, days in events.items():
        assert np.flatnonzero(shared(panel, kind)).tolist() == days
        assert shared(panel, f"before_{kind}")[days[0] - 7] == 0.5
        assert shared(panel, f"after_{kind}")[days[-1] + 7] == 0.5


def test_an_item_is_observed_from_its_launch_to_its_end(world: Callable[..., World]) -> None:
    sales = every_day()
    quiet = (sales["item"] == "cup") & (sales["date"] < day(30))
    opened = (sales["location"] == "south") & (sales["date"] < day(20))
    made = world(feeds=["sales", "catalogue"], sales=sales[~quiet & ~opened])
    catalogue = pd.DataFrame(
        {
            "item": ["cup", "pan", "pot"],
            "launched": [day(10), None, day(5)],
            "discontinued": [None, day(99), day(DAYS + 3)],
        }
    )
    made.put("catalogue", catalogue)
    panel = made.panel()

    def observed(name: str) -> tuple[int, int]:
        found = np.flatnonzero(panel.observed[row_of(panel, name)])
        assert len(found) == found[-1] - found[0] + 1
        return int(found[0]), int(found[-1])

    assert observed("cup/north") == (10, DAYS - 1)  # no sale before day 30 is a true zero
    assert observed("cup/south") == (20, DAYS - 1)  # the shop was not there yet
    assert observed("pan/north") == (0, 99)
    assert observed("pot/north") == (5, DAYS - 1)
    assert not panel.y[row_of(panel, "pan/north"), 100:].any()
    assert panel.ends[row_of(panel, "cup/north")] == NEVER
    assert panel.ends[row_of(panel, "pan/north")] == 100
    assert panel.ends[row_of(panel, "pot/south")] == DAYS + 4


def test_a_week_belongs_to_an_item_that_was_sold_on_any_day_of_it(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "catalogue"], sales=every_day())
    made.put("catalogue", pd.DataFrame({"item": ["cup"], "launched": [day(20)], "discontinued": [day(35)]}))
    panel = made.panel()
    assert np.flatnonzero(panel.observed[row_of(panel, "cup/north")]).tolist() == [2, 3, 4, 5]
    assert panel.ends[row_of(panel, "cup/north")] == 6


def test_returns_and_buyers_change_nothing(world: Callable[..., World]) -> None:
    plain = world(name="plain").panel()
    sales = random_sales().assign(returns=3.0, buyers=None, revenue=np.nan)
    assert world(name="more", sales=sales).panel().fingerprint() == plain.fingerprint()


@pytest.mark.parametrize("frequency", ["D", "W"])
def test_orders_are_counted_by_the_period_where_the_source_counts_them(
    world: Callable[..., World], frequency: str
) -> None:
    assert world(name="plain", frequency=frequency).panel().past_names == ()
    sales = random_sales().assign(orders=2)
    panel = world(name="more", frequency=frequency, sales=sales).panel()
    assert panel.past_names == ("orders",)
    item, location = panel.unique_id[0].split("/")
    mine = sales[(sales["item"] == item) & (sales["location"] == location)]
    expected = np.zeros(panel.y.shape[1])
    period = (pd.to_datetime(mine["date"]) - pd.Timestamp(panel.start)).dt.days // panel.period_days
    np.add.at(expected, period[period < len(expected)], 2)
    np.testing.assert_allclose(np.expm1(panel.past[0, :, 0]), expected, rtol=1e-5)


def test_what_was_sold_while_out_of_stock_is_the_least_that_was_demanded(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "stock"])
    panel = made.panel()
    at = int(np.flatnonzero(panel.y[0] > 0)[5])
    item, location = panel.unique_id[0].split("/")
    made.put("stock", rows(item, location, [at], on_hand=0.0, in_stock_share=0.2))
    emptied = made.panel()
    assert not emptied.observed[0, at]
    assert emptied.y[0, at] == 0
    assert emptied.at_least[0, at] == panel.y[0, at]
    assert emptied.at_least.sum() == panel.y[0, at]


def test_titles_become_vectors_and_clusters_where_there_are_enough() -> None:
    nouns = ("LANTERN", "TEAPOT", "CUSHION")
    titles = [f"{colour} {noun} {word}" for noun in nouns for colour in ("RED", "BLUE", "GREEN", "WHITE", "PINK")
              for word in ("SMALL", "LARGE", "RETRO", "GLASS", "METAL")]  # fmt: skip
    vectors = title_vectors(titles)
    assert vectors.shape == (75, TITLE_TRAITS) or vectors.shape[1] == 0
    np.testing.assert_array_equal(title_vectors(titles), vectors)
    clusters = title_clusters(vectors)
    assert len(set(clusters)) > 1
    counts = np.bincount(clusters)
    assert (np.diff(counts) <= 0).all()
    assert title_vectors(["", "LONE TITLE"]).shape == (2, 0)


FEEDS_WITH_A_FUTURE = ["sales", "stock", "prices", "promotions", "behaviour", "catalogue", "market", "calendar"]


def everything(made: World, learnt: date, factor: int) -> None:
    """Put facts into every feed; a later day's contradict the earlier ones."""
    days = range(DAYS + 20)
    made.put("stock", rows("cup", "north", days, on_hand=0.0, in_stock_share=1 - factor / 2), learnt=learnt)
    made.put("prices", rows("cup", "north", days, list_price=9.0, price=float(factor)), learnt=learnt)
    made.put("behaviour", rows("cup", "north", days, views=10 * factor), learnt=learnt)
    plan = {"item": "*", "category": "*", "location": "*", "start": day(3), "end": day(DAYS + 9), "kind": "flash"}
    made.put("promotions", pd.DataFrame([plan | {"depth": factor / 4}]), learnt=learnt)
    made.put(
        "catalogue",
        pd.DataFrame([{"item": "cup", "category": f"c{factor}", "discontinued": day(60 * factor)}]),
        learnt=learnt,
    )
    place = {"region": "*", "location": "north", "item": "*"}
    made.put(
        "market",
        pd.DataFrame({"variable": v, "date": day(n), "value": n * factor} | place for n in days for v in ("a", "b")),
        learnt=learnt,
    )
    event = {"country": "GB", "event": f"event {factor}", "kind": "festival"}
    made.put("calendar", pd.DataFrame([event | {"date": day(DAYS + factor)}]), learnt=learnt)


@pytest.mark.parametrize("frequency", ["D", "W"])
@pytest.mark.slow
def test_what_is_learnt_after_the_day_changes_no_bit(world: Callable[..., World], frequency: str) -> None:
    made = world(
        frequency=frequency,
        feeds=FEEDS_WITH_A_FUTURE,
        variables={"a": {"known": "ahead"}, "b": {}},
        series={"top": 100, "trailing_days": 400, "levels": ["category"]},
    )
    everything(made, START, 1)
    before = made.panel()
    later = AS_OF + timedelta(days=1)
    everything(made, later, 2)
    made.put("sales", random_sales(seed=2).assign(units=777.0), learnt=later)
    made.put("sales", rows("new", "north", range(DAYS + 5), units=5.0), learnt=later + timedelta(days=1))
    after = made.panel()
    assert after.fingerprint() == before.fingerprint()
    for field in fields(before):
        one, other = getattr(after, field.name), getattr(before, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
    assert before.past.any()
    assert before.known.any()


def test_a_panel_holds_no_nan(world: Callable[..., World]) -> None:
    made = world(feeds=FEEDS_WITH_A_FUTURE, variables={"a": {"known": "ahead"}, "b": {}})
    everything(made, START, 1)
    made.put("prices", rows("pan", "north", range(50, 60), list_price=0.0, price=0.0), learnt=AS_OF)
    panel = made.panel()
    for values in (panel.y, panel.available, panel.past, panel.known, panel.shared):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
