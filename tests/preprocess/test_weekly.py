"""Weeks: an SQL oracle adds up and joins the same facts in its own way."""

from collections.abc import Callable
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest

from pipeline.cycle import open_cycle
from pipeline.errors import ConfigError
from tests.conftest import MarketWriter
from tests.preprocess.conftest import AS_OF, ITEMS, LOCATIONS, START, World, known, past, random_sales, row_of, shared

WEEKS, AHEAD = 26, 4
MONDAYS = [START + timedelta(weeks=week) for week in range(WEEKS + AHEAD)]


def oracle(sql: str, **tables: pd.DataFrame) -> pd.DataFrame:
    """Return what DuckDB says, where `date_trunc('week', …)` finds the Mondays."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(sql).df()


def wide(frame: pd.DataFrame, weeks: int, missing: float) -> dict[str, np.ndarray]:
    """Return `value` by series and Monday, as a row of weeks for each series."""
    frame = frame.assign(week=pd.to_datetime(frame["week"]).dt.date)
    table = frame.pivot_table(index="unique_id", columns="week", values="value")
    table = table.reindex(columns=MONDAYS[:weeks]).fillna(missing)
    return {str(name): row.to_numpy() for name, row in table.iterrows()}


def test_demand_is_the_sum_from_monday_to_sunday(world: Callable[..., World]) -> None:
    panel = world(frequency="W").panel()
    expected = oracle(
        "SELECT item || '/' || location AS unique_id, date_trunc('week', date) AS week, sum(units) AS value "
        "FROM sales GROUP BY ALL",
        sales=random_sales(),
    )
    for name, row in wide(expected, WEEKS, 0).items():
        np.testing.assert_array_equal(panel.y[row_of(panel, name)], row)
    assert (panel.frequency, panel.start, panel.last_day, panel.season) == ("W", START, AS_OF, 52)
    assert panel.days.tolist() == MONDAYS[:WEEKS]
    assert panel.observed.all()


def test_a_week_is_told_by_whichever_of_its_days_it_is_dated(world: Callable[..., World]) -> None:
    """A weekly source may date its week by any day of it."""
    dated = {}
    for weekday in (0, 3, 6):
        rows = [
            {"item": "cup", "location": "north", "date": monday + timedelta(days=weekday), "units": float(5 + number)}
            for number, monday in enumerate(MONDAYS[:WEEKS])
            if number != 7
        ]
        dated[weekday] = world(frequency="W", name=f"by_{weekday}", sales=pd.DataFrame(rows)).panel()
    for panel in dated.values():
        np.testing.assert_array_equal(panel.y, dated[0].y)
        assert not panel.observed[0, 7]
        assert panel.observed[0].sum() == WEEKS - 1


def test_a_missing_row_is_zero_or_unknown_as_the_market_says(world: Callable[..., World]) -> None:
    sales = random_sales()
    gap = (sales["item"] == "pan") & (sales["location"] == "south") & (sales["date"].between(MONDAYS[9], MONDAYS[12]))
    late = (sales["item"] == "pot") & (sales["location"] == "north") & (sales["date"] < MONDAYS[5])
    sales = sales[~gap & ~late]
    series = {"top": 100, "trailing_days": 400}
    zero = world(frequency="W", name="zero", sales=sales, series=series).panel()
    unknown = world(frequency="W", name="unknown", sales=sales, series=series | {"missing": "unknown"}).panel()
    assert zero.observed[row_of(zero, "pan/south")].all()
    assert zero.y[row_of(zero, "pan/south"), 9:12].tolist() == [0, 0, 0]
    mine = sales[(sales["item"] == "pan") & (sales["location"] == "south")]["date"]
    told = {(day - START).days // 7 for day in mine}
    assert not told & {9, 10, 11}
    assert set(np.flatnonzero(unknown.observed[row_of(unknown, "pan/south")]).tolist()) == told
    assert np.flatnonzero(~zero.observed[row_of(zero, "pot/north")]).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(zero.y, unknown.y)


def test_a_weeks_price_is_the_mean_of_its_days(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "prices"])
    draw = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "item": "cup",
            "location": "north",
            "date": START + timedelta(days=day),
            "price": round(float(draw.uniform(2, 4)), 2),
            "list_price": 5.0,
        }
        for day in range(WEEKS * 7)
        if day % 3
    )
    made.put("prices", rows)
    panel = made.panel()
    expected = oracle(
        """
        WITH weekly AS (
            SELECT date_trunc('week', date) AS week, avg(price) AS price, avg(list_price) AS list_price
            FROM prices GROUP BY ALL
        )
        SELECT week, ln(price / avg(price) OVER (ORDER BY week ROWS 7 PRECEDING)) AS ratio,
               1 - price / list_price AS discount FROM weekly ORDER BY week
        """,
        prices=rows,
    )
    np.testing.assert_allclose(past(panel, "price_ratio", "cup/north"), expected["ratio"], atol=1e-5)
    np.testing.assert_allclose(past(panel, "discount", "cup/north"), expected["discount"], atol=1e-5)


def test_promotions_join_by_item_category_and_location(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "promotions", "catalogue"])
    catalogue = pd.DataFrame({"item": ITEMS, "category": ["glass", "metal", None]})
    made.put("catalogue", catalogue)
    draw = np.random.default_rng(4)
    rows = pd.DataFrame(
        {
            "item": str(draw.choice([*ITEMS, "*"])),
            "category": str(draw.choice(["*", "*", "glass", "metal", "paper"])),
            "location": str(draw.choice([*LOCATIONS, "*"])),
            "start": (start := START + timedelta(days=int(draw.integers(-20, 200)))),
            "end": start + timedelta(days=int(draw.integers(0, 20))),
            "kind": str(draw.choice(["display", "flash"])),
            "depth": round(float(draw.uniform(0.1, 0.9)), 2),
        }
        for _ in range(60)
    )
    made.put("promotions", rows)
    panel = made.panel()
    expected = oracle(
        """
        WITH days AS (
            SELECT i.item, i.category, l.location, unnest(range(DATE '2021-01-04', DATE '2021-08-02', INTERVAL 1 DAY))
            AS day FROM catalogue i, locations l
        ), deepest AS (
            SELECT d.item || '/' || d.location AS unique_id, day, kind, max(depth) AS depth
            FROM days d JOIN promotions p ON d.day BETWEEN p."start" AND p."end"
            WHERE (p.item = '*' OR p.item = d.item) AND (p.location = '*' OR p.location = d.location)
              AND (p.category = '*' OR p.category = coalesce(d.category, '-')) GROUP BY ALL
        )
        SELECT unique_id, kind, date_trunc('week', day) AS week, sum(depth) / 7 AS value FROM deepest GROUP BY ALL
        """,
        promotions=rows,
        catalogue=catalogue,
        locations=pd.DataFrame({"location": LOCATIONS}),
    )
    assert panel.known_names == ("promotion_display", "promotion_flash")
    for kind in ("display", "flash"):
        found = wide(expected[expected["kind"] == kind], WEEKS + AHEAD, 0)
        for name in panel.unique_id:
            row = found.get(str(name), np.zeros(WEEKS + AHEAD))
            np.testing.assert_allclose(known(panel, f"promotion_{kind}", str(name)), row, atol=1e-6)
    assert panel.known[:, WEEKS:].any()


def test_variables_attach_to_regions_locations_and_items(world: Callable[..., World]) -> None:
    made = world(
        frequency="W",
        feeds=["sales", "market"],
        regions={"coast": ["north"], "inland": ["south"]},
        variables={"budget": {"known": "ahead", "fill": "zero"}, "wind": {}, "index": {"known": "ahead"}},
    )
    draw = np.random.default_rng(5)
    places = [
        ("*", "*", "*"),
        ("coast", "*", "*"),
        ("*", "south", "*"),
        ("*", "*", "pan"),
        ("*", "north", "pan"),
    ]
    rows = pd.DataFrame(
        {
            "variable": variable,
            "region": region,
            "location": location,
            "item": item,
            "date": START + timedelta(days=day),
            "value": round(float(draw.normal()), 3),
        }
        for variable, chosen in (("budget", places), ("wind", places[:3]), ("index", places[:1]))
        for region, location, item in chosen
        for day in range((WEEKS + AHEAD) * 7)
        if draw.random() < 0.1
    )
    made.put("market", rows)
    panel = made.panel()
    days = """
        WITH days AS (
            SELECT i.item, l.location, l.region, v.variable,
                   unnest(range(DATE '2021-01-04', DATE '2021-08-02', INTERVAL 1 DAY)) AS day
            FROM items i, locations l, (SELECT DISTINCT variable FROM market) v
        ), chosen AS (
            SELECT d.item || '/' || d.location AS unique_id, d.variable, d.day,
                   coalesce(il.value, i.value, l.value, r.value, a.value) AS value
            FROM days d
            LEFT JOIN market il ON (il.variable, il.date, il.item, il.location, il.region) =
                                   (d.variable, d.day, d.item, d.location, '*')
            LEFT JOIN market i ON (i.variable, i.date, i.item, i.location, i.region) =
                                  (d.variable, d.day, d.item, '*', '*')
            LEFT JOIN market l ON (l.variable, l.date, l.item, l.location, l.region) =
                                  (d.variable, d.day, '*', d.location, '*')
            LEFT JOIN market r ON (r.variable, r.date, r.item, r.location, r.region) =
                                  (d.variable, d.day, '*', '*', d.region)
            LEFT JOIN market a ON (a.variable, a.date, a.item, a.location, a.region) =
                                  (d.variable, d.day, '*', '*', '*')
        ), weekly AS (
            SELECT unique_id, variable, date_trunc('week', day) AS week, avg(value) AS value FROM chosen GROUP BY ALL
        )
    """
    tables = {
        "market": rows.assign(date=pd.to_datetime(rows["date"])),
        "items": pd.DataFrame({"item": ITEMS}),
        "locations": pd.DataFrame({"location": LOCATIONS, "region": ["coast", "inland"]}),
    }
    budget = oracle(f"{days} SELECT * FROM weekly WHERE variable = 'budget'", **tables)
    carried = """
        SELECT unique_id, variable, week, last_value(value IGNORE NULLS) OVER
               (PARTITION BY unique_id, variable ORDER BY week) AS value FROM weekly
    """
    filled = oracle(f"{days} {carried}", **tables)
    assert panel.known_names == ("market_budget",)
    assert panel.past_names == ("market_wind",)
    index = wide(filled[filled["variable"] == "index"], WEEKS + AHEAD, 0)
    wind = wide(filled[filled["variable"] == "wind"], WEEKS, 0)
    for name, row in wide(budget, WEEKS + AHEAD, 0).items():
        np.testing.assert_allclose(known(panel, "market_budget", name), row, atol=1e-5)
        np.testing.assert_allclose(past(panel, "market_wind", name), wind[name], atol=1e-5)
        np.testing.assert_allclose(shared(panel, "market_index"), index[name], atol=1e-5)


def test_the_calendar_counts_days_and_knows_the_nearest(world: Callable[..., World]) -> None:
    made = world(frequency="W", feeds=["sales", "calendar"])
    events = [
        ("2021-04-02", "Good Friday", "public_holiday"),
        ("2021-04-05", "Easter Monday", "public_holiday"),
        ("2021-06-18", "618", "festival"),
        ("2021-06-20", "618", "festival"),
    ]
    rows = pd.DataFrame(events, columns=["date", "event", "kind"]).assign(country="GB")
    made.put("calendar", rows.assign(date=pd.to_datetime(rows["date"]).dt.date))
    panel = made.panel()
    holidays, festivals = shared(panel, "public_holiday"), shared(panel, "festival")
    assert np.flatnonzero(holidays).tolist() == [12, 13]
    assert festivals[23] == 2
    assert festivals.sum() == 2
    before = shared(panel, "before_festival")
    assert before[23] == 1
    assert before[22] == pytest.approx(1 - 5 / 14)  # its Sunday lies five days before the first of them
    assert before[20] == 0
    assert shared(panel, "after_public_holiday")[15] == pytest.approx(1 - 14 / 14)
    assert shared(panel, "after_public_holiday")[14] == pytest.approx(1 - 7 / 14)
    assert not any(name.startswith("weekday") for name in panel.shared_names)
    year = np.stack([shared(panel, "year_sin"), shared(panel, "year_cos")])
    np.testing.assert_allclose((year**2).sum(axis=0), 1, rtol=1e-5)


def test_a_weekly_panel_ends_on_sundays_only(world: Callable[..., World]) -> None:
    panel = world(frequency="W").panel()
    earlier = panel.until(AS_OF - timedelta(days=14))
    assert earlier.y.shape[1] == WEEKS - 2
    assert earlier.last_day == AS_OF - timedelta(days=14)
    with pytest.raises(ValueError, match="2021-07-03 is not a Sunday of this panel"):
        panel.until(AS_OF - timedelta(days=1))


def test_a_weekly_market_is_opened_on_sundays_only(weekly_market: MarketWriter) -> None:
    with pytest.raises(ConfigError, match=r"2021-07-07 is a Wednesday, but 'small_weekly' .* 2021-07-04 or 2021-07-11"):
        open_cycle(weekly_market(), date(2021, 7, 7))
    assert open_cycle(weekly_market(), AS_OF).as_of == AS_OF


def test_a_weekly_history_starts_on_a_monday(weekly_market: MarketWriter) -> None:
    with pytest.raises(ConfigError, match=r"Thursday 2021-01-07; give 2021-01-04 or 2021-01-11"):
        open_cycle(weekly_market(history_start=date(2021, 1, 7)), AS_OF)
