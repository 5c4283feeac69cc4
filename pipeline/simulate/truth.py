"""What only the simulator knows: true demand, lost sales, elasticities, uplifts, and why demand was what it was.

For tests, for benchmarks and for judging forecasts and decisions; no stage may read it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.feeds import ANY, FEEDS, FeedName, Grain
from pipeline.simulate.answers import Shop, location_names
from pipeline.simulate.assortment import ASSORTMENT
from pipeline.simulate.demand import COMPONENTS, Scene, components, live, price_cents, rate
from pipeline.simulate.festivals import festival_waves
from pipeline.simulate.prices import CENTS
from pipeline.simulate.promotions import KINDS
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.world import world

__all__ = ["Truth", "truth"]


@dataclass(frozen=True)
class Truth:
    """The hidden side of a world; arrays are `[T, L, N]`: days, locations, items in the order of `items`."""

    settings: SimulatorSettings
    items: tuple[str, ...]
    locations: tuple[str, ...]
    demand: NDArray[np.int32]
    """Units that were asked for."""
    sold: NDArray[np.int32]
    """min(demand, stock)."""
    on_hand: NDArray[np.int32]
    """Units left in the evening."""
    in_stock: NDArray[np.float32]
    """Share of the day in which the item could be bought."""
    scene: Scene

    def live(self) -> NDArray[np.bool_]:
        """Return which items are sold on which days `[T, N]`."""
        return live(self.scene, 0, self.settings.days)

    def expected(self, since: date, until: date) -> NDArray[np.float64]:
        """Return the mean that demand was drawn around `[days, L, N]`."""
        return rate(self.scene, *self._days(since, until))

    def components(self, since: date, until: date) -> dict[str, NDArray[np.float64]]:
        """Return the parts that add up to the log of the mean, each `[days, L, N]`, in the order of `COMPONENTS`."""
        first, count = self._days(since, until)
        shape = (count, len(self.locations), len(self.items))
        found = components(self.scene, first, count)
        return {name: np.broadcast_to(found[name], shape).astype(np.float64) for name in COMPONENTS}

    def log_price(self, since: date, until: date) -> NDArray[np.float64]:
        """Return the log of the selling price over the first list price, what elasticities refer to `[days, L, N]`."""
        return np.log(price_cents(self.scene, *self._days(since, until)) / (self.scene.items.list_price * CENTS))

    def daily(self, since: date, until: date) -> Iterator[pa.Table]:
        """Yield a table a day: true demand, sales, lost sales and the components of each item and location."""
        day = max(since, self.settings.start)
        while day <= min(until, self.settings.end):
            yield self._of_day(day)
            day += timedelta(days=1)

    def elasticities(self) -> pa.Table:
        """Return what moves each item: own-price elasticity, response to promotions and advertising, level, slope."""
        items = self.scene.items
        return pa.table(
            {
                "item": self.items,
                "category": [ASSORTMENT[code].name for code in items.category],
                "elasticity": items.elasticity,
                "response": items.response,
                "usual_units_a_day": np.exp(items.level),
                "growth_a_year": items.slope + self.settings.growth_a_year,
                "first_list_price": items.list_price,
                "supply_days": items.lead_days,
            }
        )

    def uplifts(self) -> pa.Table:
        """Return by which factors each promotion multiplies each of its items' demand, held alone off the list price.

        `attention` is what its placement or name does, `price` what its price cut does, `uplift` their product.
        """
        held, items = self.scene.promotions, self.scene.items
        width = held.boxes.item[:, 1] - held.boxes.item[:, 0]
        promotion = np.repeat(np.arange(len(width)), width)
        item = np.repeat(held.boxes.item[:, 0], width) + np.arange(len(promotion))
        item -= np.repeat(np.cumsum(width) - width, width)
        attention = np.exp(held.attention[promotion] * items.response[item])
        price = (1 - held.cut[promotion]) ** items.elasticity[item]
        origin = np.datetime64(self.settings.start, "D")
        days = held.boxes.day[promotion]
        place = held.at[promotion] % (len(self.locations) + 1)
        return pa.table(
            {
                "item": pa.array(self.items).take(pa.array(item)),
                "location": pa.array([*self.locations, ANY]).take(pa.array(place)),
                "of_category": held.of_category[promotion],
                "start": pa.array(origin + days[:, 0]),
                "end": pa.array(origin + days[:, 1] - 1),
                "kind": pa.array([kind.name for kind in KINDS]).take(pa.array(held.kind[promotion])),
                "depth": held.depth[promotion],
                "attention": attention,
                "price": price,
                "uplift": attention * price,
            }
        )

    def festivals(self) -> pa.Table:
        """Return what festivals multiply the demand of each category by, on each day that they touch."""
        day, category = np.nonzero(self.scene.festival)
        waves = sorted((at, name) for name, at in festival_waves(self.settings))
        dates = [self.settings.start + timedelta(days=int(one)) for one in day]
        nearest = {one: min(waves, key=lambda wave: abs((wave[0] - one).days)) for one in set(dates)}
        return pa.table(
            {
                "date": pa.array(dates, pa.date32()),
                "category": pa.array([ASSORTMENT[code].name for code in category], pa.string()),
                "nearest_festival": pa.array([nearest[one][1] for one in dates], pa.string()),
                "days_from_it": pa.array([(one - nearest[one][0]).days for one in dates], pa.int64()),
                "factor": np.exp(self.scene.festival[day, category]),
            }
        )

    def dirt(self, feed: FeedName, grain: Grain, since: date, until: date, as_of: date) -> dict[str, int]:
        """Return how many broken rows of each sort a feed's window holds."""
        shop = Shop(self.settings)
        for _ in shop.answer(FEEDS[feed], grain, since=since, until=until, as_of=as_of):
            pass
        return {str(kind): rows for kind, rows in shop.dirt.items()}

    def _of_day(self, day: date) -> pa.Table:
        first, _ = self._days(day, day)
        location, item = np.nonzero(np.broadcast_to(live(self.scene, first, 1), self.demand.shape[1:]))
        asked, sold = self.demand[first, location, item], self.sold[first, location, item]
        parts = self.components(day, day)
        return pa.table(
            {
                "item": pa.array(self.items).take(pa.array(item)),
                "location": pa.array(self.locations).take(pa.array(location)),
                "date": pa.array([day] * len(item), pa.date32()),
                "demand": asked,
                "sold": sold,
                "lost": asked - sold,
                "in_stock_share": self.in_stock[first, location, item],
                "expected": self.expected(day, day)[0, location, item],
                **{f"log_{name}": part[0, location, item] for name, part in parts.items()},
            }
        )

    def _days(self, since: date, until: date) -> tuple[int, int]:
        first = (since - self.settings.start).days
        return first, (until - since).days + 1


def truth(settings: SimulatorSettings) -> Truth:
    """Return what is truly so in the world of some settings."""
    made = world(settings)
    shape = made.scene.shape
    return Truth(
        settings=settings,
        items=made.scene.items.name,
        locations=location_names(settings),
        demand=made.demand.reshape(shape),
        sold=made.sold.reshape(shape),
        on_hand=made.on_hand.reshape(shape),
        in_stock=made.in_stock.reshape(shape),
        scene=made.scene,
    )
