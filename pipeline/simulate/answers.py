"""What the world's sources answer when they are asked on a day: the tables of every feed, a day's rows at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.feeds import ANY, FEEDS, Feed, FeedName, Grain
from pipeline.simulate.assortment import ASSORTMENT
from pipeline.simulate.browsing import EVENTS, Browsing, Visits
from pipeline.simulate.demand import Scene, live, make_scene, price_cents
from pipeline.simulate.dirt import CLEAN, DIRT, Dirt, broken_rows, drawn_dirt
from pipeline.simulate.festivals import festival_days, holiday_days
from pipeline.simulate.orders import Lines, Orders
from pipeline.simulate.people import make_people
from pipeline.simulate.prices import CENTS
from pipeline.simulate.promotions import KINDS, Promotions
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.world import World, world

__all__ = ["GRAINS", "VARIABLES", "Shop", "location_names", "region_names"]

GRAINS: dict[FeedName, tuple[Grain, ...]] = {
    name: ("lines", "facts") if feed.lines is not None else ("facts",) for name, feed in FEEDS.items()
}
"""At which grains each feed can be had."""

VARIABLES = (
    "advertising", "consumer_confidence", "open", "rain", "rain_forecast", "temperature", "temperature_forecast",
)  # fmt: skip
"""The variables of the feed `market`."""

TOLD_BEFORE_LAUNCH_DAYS = 30
"""How long before its launch an item stands in the catalogue, and before its end the end is told."""
_REGIONS = ("north", "south", "east", "west", "centre")


def region_names(settings: SimulatorSettings) -> tuple[str, ...]:
    """Return the names of the world's regions."""
    more = (f"region_{number}" for number in range(len(_REGIONS) + 1, settings.regions + 1))
    return (*_REGIONS[: settings.regions], *more)


def location_names(settings: SimulatorSettings) -> tuple[str, ...]:
    """Return the names of the world's locations."""
    return tuple(f"store_{number}" for number in range(1, settings.locations + 1))


class Shop:
    """The sources of a simulated market.

    Every answer is a series of tables, a day's rows each, in a fixed order: the rows of a window are those of its
    days, one after the other, whatever else was asked before.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.dirt: Counter[Dirt] = Counter()
        """How many broken rows of each sort have been given out."""

    def answer(self, feed: Feed, grain: Grain, *, since: date, until: date, as_of: date) -> Iterator[pa.Table]:
        """Yield the feed's rows about the days of a window, as its source knows them on the evening of a day.

        Columns and types are those of the feed's landed schema, all nullable.
        """
        schema = pa.schema([column.with_nullable(nullable=True) for column in feed.landed_schema(grain)])
        if feed.name == "catalogue":
            yield self._catalogue(self._day(as_of)).cast(schema)
            return
        if feed.name == "calendar":
            yield self._calendar(since, until).cast(schema)
            return
        first, last = max(self._day(since), 0), min(self._day(until), self._settings.days - 1)
        for table in self._by_day(feed.name, grain, first, last, self._day(as_of)):
            if table.num_rows:
                yield table.select(schema.names).cast(schema)

    def _by_day(self, feed: FeedName, grain: Grain, first: int, last: int, as_of: int) -> Iterator[pa.Table]:
        table = self._teller(feed, grain, as_of)
        known_until = {"prices": as_of + self._settings.plan_days, "promotions": last, "market": last}.get(feed, as_of)
        for day in range(first, min(last, known_until) + 1):
            yield table(day)

    def _teller(self, feed: FeedName, grain: Grain, as_of: int) -> Callable[[int], pa.Table]:
        """Return what gives a day's rows of a feed, as known on the evening of the as-of day."""
        match feed:
            case "sales":
                return partial(self._sales, Orders(self._world), grain, as_of)
            case "behaviour":
                return partial(self._behaviour, Browsing(self._world, make_people(self._settings)), grain)
            case "stock":
                return self._stock
            case "prices":
                return partial(self._prices, as_of)
            case "market":
                return partial(self._market, as_of)
            case _:
                return partial(self._promotions, as_of)

    # Orders

    def _sales(self, orders: Orders, grain: Grain, as_of: int, day: int) -> pa.Table:
        seen = orders.of(day).seen(as_of - day)
        if grain == "facts":
            table, cell = self._sales_facts(seen, day)
            return self._soiled("sales", table, day, cell)
        table = self._named_lines(seen, day, orders.people.names)
        steady = np.flatnonzero(seen.is_steady & (seen.units > 0))
        kinds = np.full(len(seen), CLEAN)
        kinds[steady] = drawn_dirt(self._settings, "sales", day, len(steady))
        return self._with_dirt("sales", table, kinds)

    def _named_lines(self, lines: Lines, day: int, people: pa.Array) -> pa.Table:
        number = pc.utf8_lpad(pa.array(lines.order).cast(pa.string()), 6, "0")
        ordered = self._stamps.take(pa.array(lines.day))
        line = pc.if_else(pa.array(lines.units < 0), pa.scalar("R"), pa.scalar(""))
        return pa.table(
            {
                "order_id": pc.binary_join_element_wise(ordered, number, "-"),
                "line": pc.binary_join_element_wise(line, pa.array(lines.line).cast(pa.string()), ""),
                **self._keys(lines.cell, day),
                "units": pa.array(lines.units.astype(np.float64)),
                "revenue": pa.array(lines.cents / CENTS),
                "customer": people.take(pa.array(lines.customer)),
            }
        )

    def _sales_facts(self, lines: Lines, day: int) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return the lines summed up by cell, and the cells; what came back is told by `returns` alone."""
        cell, at = np.unique(lines.cell, return_inverse=True)
        count = len(cell)
        sale = lines.units > 0
        table = pa.table(
            {
                **self._keys(cell, day),
                "units": np.bincount(at, np.maximum(lines.units, 0), count).astype(np.float64),
                "revenue": np.bincount(at, np.maximum(lines.cents, 0), count) / CENTS,
                "orders": _distinct(at[sale], lines.order[sale], count),
                "buyers": _distinct(at[sale], lines.customer[sale], count),
                "returns": np.bincount(at, np.maximum(-lines.units, 0), count).astype(np.float64),
            }
        )
        return table, cell

    # Visits

    def _behaviour(self, browsing: Browsing, grain: Grain, day: int) -> pa.Table:
        visits = browsing.of(day)
        if grain == "facts":
            table, cell = self._visit_facts(visits, day)
            return self._soiled("behaviour", table, day, cell)
        number = pc.utf8_lpad(pa.array(np.arange(1, len(visits.cell) + 1)).cast(pa.string()), 7, "0")
        midnight = np.datetime64(self._date(day), "us")
        table = pa.table(
            {
                "event_id": pc.binary_join_element_wise(self._stamps[day], number, "-"),
                **self._keys(visits.cell, day),
                "timestamp": pa.array(midnight + visits.second.astype("timedelta64[s]"), pa.timestamp("us")),
                "event": pa.array(EVENTS).take(pa.array(visits.event)),
                "user": self._people.take(pa.array(visits.user)),
            }
        )
        kinds = drawn_dirt(self._settings, "behaviour", day, table.num_rows)
        return self._with_dirt("behaviour", table, kinds)

    def _visit_facts(self, visits: Visits, day: int) -> tuple[pa.Table, NDArray[np.int64]]:
        cell, at = np.unique(visits.cell, return_inverse=True)
        counts = np.bincount(at * len(EVENTS) + visits.event, minlength=len(cell) * len(EVENTS))
        by_event = dict(zip(EVENTS, counts.reshape(-1, len(EVENTS)).T, strict=True))
        table = pa.table(
            {
                **self._keys(cell, day),
                "views": by_event["view"],
                "cart_adds": by_event["cart"],
                "favourites": by_event["favourite"],
                "searches": by_event["search"],
                "visitors": _distinct(at, visits.user, len(cell)),
            }
        )
        return table, cell

    # Stock and prices

    def _stock(self, day: int) -> pa.Table:
        cell = self._live_cells(day)
        table = pa.table(
            {
                **self._keys(cell, day),
                "on_hand": self._world.on_hand[day][cell].astype(np.float64),
                "in_stock_share": np.round(self._world.in_stock[day][cell].astype(np.float64), 4),
            }
        )
        return self._soiled("stock", table, day, cell)

    def _prices(self, as_of: int, day: int) -> pa.Table:
        cell = self._live_cells(day)
        scene = self._scene
        cents = price_cents(scene, day, 1, known_on=as_of).ravel()
        list_price = np.tile(scene.prices.list_price[day].astype(np.float64), self._settings.locations)
        table = pa.table(
            {
                **self._keys(cell, day),
                "list_price": np.round(list_price[cell], 2),
                "price": cents[cell] / CENTS,
            }
        )
        return table if day > as_of else self._soiled("prices", table, day, cell)

    # Promotions

    def _promotions(self, as_of: int, day: int) -> pa.Table:
        held = self._scene.promotions
        return self._named_promotions(held.take((held.boxes.day[:, 0] == day) & (held.announced <= as_of)))

    def _named_promotions(self, held: Promotions) -> pa.Table:
        items = self._scene.items
        first = held.boxes.item[:, 0]
        category = np.array([kind.name for kind in ASSORTMENT])[items.category[first]] if len(first) else first
        origin = np.datetime64(self._settings.start, "D")
        places = np.array([*location_names(self._settings), ANY])
        table = pa.table(
            {
                "item": pa.array(np.where(held.of_category, ANY, np.array(items.name)[first]), pa.string()),
                "category": pa.array(np.where(held.of_category, category, ANY), pa.string()),
                "location": pa.array(places[held.at], pa.string()),
                "start": pa.array(origin + held.boxes.day[:, 0]),
                "end": pa.array(origin + held.boxes.day[:, 1] - 1),
                "kind": pa.array(np.array([kind.name for kind in KINDS])[held.kind], pa.string()),
                "depth": held.depth,
                "channel": pa.array(held.channel, pa.string()),
                "planned": held.planned,
            }
        )
        return table.sort_by([(name, "ascending") for name in FEEDS["promotions"].key])

    # The market's surroundings

    def _market(self, as_of: int, day: int) -> pa.Table:
        rows = [*self._weather(day, as_of), *self._plans(day, as_of)]
        names = ("variable", "region", "location", "item", "value")
        columns = {name: [row[number] for row in rows] for number, name in enumerate(names)}
        table = pa.table(
            {name: pa.array(columns[name], pa.string()) for name in names[:-1]}
            | {"date": pa.array([self._date(day)] * len(rows), pa.date32())}
            | {"value": pa.array(columns["value"], pa.float64())}
        )
        return table.sort_by([(name, "ascending") for name in FEEDS["market"].key])

    def _weather(self, day: int, as_of: int) -> Iterator[tuple[str, str, str, str, float]]:
        """Yield what the weather was, and how the day is or was forecast: afterwards as on the evening before."""
        weather = self._scene.weather
        ahead = max(day - as_of, 1)
        for number, region in enumerate(region_names(self._settings)):
            if day <= as_of:
                yield "temperature", region, ANY, ANY, weather.temperature[day, number]
                yield "rain", region, ANY, ANY, weather.rain[day, number]
            if ahead <= self._settings.forecast_days:
                yield "temperature_forecast", region, ANY, ANY, weather.temperature_forecast[day, ahead - 1, number]
                yield "rain_forecast", region, ANY, ANY, weather.rain_forecast[day, ahead - 1, number]

    def _plans(self, day: int, as_of: int) -> Iterator[tuple[str, str, str, str, float]]:
        scene = self._scene
        if day <= as_of:
            yield "consumer_confidence", ANY, ANY, ANY, scene.moods.confidence[day]
        if day > as_of + self._settings.plan_days:
            return
        # Opening days are worth a variable only where they differ.
        for location in () if scene.open.all() else location_names(self._settings):
            yield "open", ANY, location, ANY, float(scene.open[day])
        for item in np.flatnonzero(scene.moods.spend[day] > 0):
            yield "advertising", ANY, ANY, scene.items.name[item], round(float(scene.moods.spend[day, item]), 2)

    # What an item is, and which days are special

    def _catalogue(self, as_of: int) -> pa.Table:
        items = self._scene.items
        told = np.flatnonzero(items.launched <= as_of + TOLD_BEFORE_LAUNCH_DAYS)
        kinds = [ASSORTMENT[code] for code in items.category[told]]
        ending = items.ended[told] <= min(as_of + TOLD_BEFORE_LAUNCH_DAYS, self._settings.days - 1)
        origin = np.datetime64(self._settings.start, "D")
        return pa.table(
            {
                "item": [items.name[item] for item in told],
                "title": [items.title[item] for item in told],
                "department": [kind.department for kind in kinds],
                "category": [kind.name for kind in kinds],
                "type": [items.type[item] for item in told],
                "brand": [items.brand[item] for item in told],
                "attributes": [items.attributes[item] for item in told],
                "launched": pa.array(origin + items.launched[told]),
                "discontinued": pa.array(origin + items.ended[told], mask=~ending),
            },
            schema=FEEDS["catalogue"].schema,
        ).sort_by("item")

    def _calendar(self, since: date, until: date) -> pa.Table:
        """Return holidays and festivals of a window; they are computed, so that they are known for years."""
        first, last = since.year, until.year
        rows = [
            (country, day, event, kind)
            for country in self._settings.countries
            for day, event, kind in [
                *((day, name, "public_holiday") for day, name in holiday_days(country, first, last)),
                *(
                    (day, festival, "festival")
                    for festival in self._settings.festivals
                    for day in festival_days(festival, first, last)
                ),
            ]
            if since <= day <= until
        ]
        columns = (
            dict(zip(FEEDS["calendar"].schema.names, zip(*sorted(rows), strict=True), strict=True)) if rows else {}
        )
        schema = FEEDS["calendar"].schema
        return pa.table({column.name: pa.array(columns.get(column.name, ()), column.type) for column in schema})

    # Names

    def _soiled(self, feed: FeedName, table: pa.Table, day: int, cell: NDArray[np.int64]) -> pa.Table:
        """Return a day's facts with broken copies of some, drawn by cell: whoever else is there does not matter."""
        cells = self._settings.locations * self._settings.items
        return self._with_dirt(feed, table, drawn_dirt(self._settings, feed, day, cells)[cell])

    def _with_dirt(self, feed: FeedName, table: pa.Table, kinds: NDArray[np.int64]) -> pa.Table:
        self.dirt.update(DIRT[feed][kind] for kind in kinds[kinds != CLEAN])
        return pa.concat_tables([table, broken_rows(FEEDS[feed], table, kinds)])

    def _keys(self, cell: NDArray[np.int64], day: int) -> dict[str, pa.Array]:
        location, item = np.divmod(cell, self._settings.items)
        return {
            "item": self._items.take(pa.array(item)),
            "location": self._locations.take(pa.array(location)),
            "date": pa.array(np.full(len(cell), np.datetime64(self._date(day), "D"))),
        }

    def _live_cells(self, day: int) -> NDArray[np.int64]:
        return np.flatnonzero(np.tile(live(self._scene, day, 1)[0], self._settings.locations))

    def _day(self, day: date) -> int:
        return (day - self._settings.start).days

    def _date(self, day: int) -> date:
        return self._settings.start + timedelta(days=day)

    @cached_property
    def _scene(self) -> Scene:
        return make_scene(self._settings)

    @cached_property
    def _world(self) -> World:
        return world(self._settings)

    @cached_property
    def _items(self) -> pa.Array:
        return pa.array(self._scene.items.name, pa.string())

    @cached_property
    def _locations(self) -> pa.Array:
        return pa.array(location_names(self._settings), pa.string())

    @cached_property
    def _people(self) -> pa.Array:
        return make_people(self._settings).names

    @cached_property
    def _stamps(self) -> pa.Array:
        """The days as they stand in order and event numbers, such as 240611."""
        return pa.array([f"{self._date(day):%y%m%d}" for day in range(self._settings.days)], pa.string())


def _distinct(at: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many different values each group has `[count]`."""
    pairs = np.unique(at * (int(values.max(initial=0)) + 1) + values)
    return np.bincount(pairs // (int(values.max(initial=0)) + 1), minlength=count)
