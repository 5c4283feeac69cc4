"""How demand comes about: its components in logs, which add up to the rate at which units are asked for.

Arrays are `[days, locations, items]`, or have 1 where a component is the same along an axis.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.assortment import Items, make_items
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.festivals import HOLIDAY_EFFECT, festival_effect, holiday_days, is_open
from pipeline.simulate.moods import CONFIDENCE_EFFECT, INTEREST_EFFECT, MAX_LEAD_DAYS, Moods, make_moods
from pipeline.simulate.prices import CENTS, Prices, make_prices
from pipeline.simulate.promotions import HANGOVER, Promotions, make_promotions
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.spans import filled_with_largest, filled_with_sums
from pipeline.simulate.weather import Weather, day_of_year, make_weather

__all__ = ["COMPONENTS", "Scene", "anticipation", "components", "interest_of", "live", "make_scene", "price_cents",
           "rate"]  # fmt: skip

Components = dict[str, NDArray[np.floating]]

COMPONENTS = (
    "level", "trend", "life", "weekday", "season", "festival", "holiday", "weather", "economy", "advertising", "price",
    "competition", "promotion", "after_promotion", "interest",
)  # fmt: skip
"""Their names, in the order in which they are added."""

CROSS_ELASTICITY = 0.4
"""Log demand for each unit by which the log prices of the category's other items are higher than usual."""
_WEEKDAY = np.array([-0.05, -0.12, -0.1, -0.02, 0.05, 0.1, 0.12])
"""Log demand of all categories, from Monday on."""
_LEISURE = np.array([-0.2, -0.3, -0.25, -0.1, 0.15, 0.75, 0.7])
"""Shape of a category's own weekend, from Monday on."""
RAMP_DAYS = 20.0
"""How fast a new item becomes known."""
DECLINE_DAYS = 45
DECLINE_A_DAY = 0.025
MOST_RAIN_MM = 40.0
ANTICIPATION_DAYS = 7


@dataclass(frozen=True)
class Scene:
    """Everything about a world but the daily counts: what is sold, and all that moves its demand."""

    settings: SimulatorSettings
    items: Items
    prices: Prices
    promotions: Promotions
    weather: Weather
    moods: Moods
    festival: NDArray[np.float64]
    """What festivals add to the log demand of each category `[T, categories]`."""
    holiday: NDArray[np.bool_]
    """Public holidays of the first country `[T]`."""
    open: NDArray[np.bool_]
    """Days on which anything is sold `[T]`."""
    place_level: NDArray[np.float64]
    """Log of each location's share of demand `[L]`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Days, locations and items of the world."""
        return self.settings.days, self.settings.locations, self.settings.items

    @property
    def region(self) -> NDArray[np.int64]:
        """The region of each location `[L]`."""
        return np.arange(self.settings.locations) % self.settings.regions

    @cached_property
    def usual_weight(self) -> NDArray[np.float64]:
        """Each item's usual sales, as its weight in its category `[N]`."""
        return np.exp(self.items.level)

    def blocks(self) -> list[tuple[int, int]]:
        """Return the first day and the number of days of pieces of the world that fit in little memory."""
        size = max(1, min(64, 2_000_000 // (self.settings.locations * self.settings.items)))
        return [(first, min(size, self.settings.days - first)) for first in range(0, self.settings.days, size)]


@lru_cache(maxsize=2)
def make_scene(settings: SimulatorSettings) -> Scene:
    """Draw everything that moves demand; the last two are kept."""
    items = make_items(settings)
    draw = generator(settings.seed, Stream.LOCATIONS)
    share = draw.dirichlet(np.full(settings.locations, 8.0))
    return Scene(
        settings=settings,
        items=items,
        prices=make_prices(settings, items),
        promotions=make_promotions(settings, items),
        weather=make_weather(settings),
        moods=make_moods(settings, items),
        festival=festival_effect(settings),
        holiday=_holidays(settings),
        open=is_open(settings),
        place_level=np.log(share),
    )


def components(scene: Scene, first: int, count: int) -> Components:
    """Return what each component adds to the log of the rate on some days, by the names of `COMPONENTS`."""
    days = slice(first, first + count)
    items, shape = scene.items, (count, scene.settings.locations, scene.settings.items)
    log_price = _log_price(scene, first, count)
    attention = filled_with_sums(scene.promotions.boxes, scene.promotions.attention, first, shape)
    tired = filled_with_sums(scene.promotions.hangover, -HANGOVER * scene.promotions.attention, first, shape)
    return {
        "level": (items.level + scene.place_level[:, None])[None],
        "trend": _trend(scene, first, count)[:, None],
        "life": _life(scene, first, count)[:, None],
        "weekday": _weekday(scene, first, count)[:, None],
        "season": _season(scene, first, count)[:, None],
        "festival": scene.festival[days][:, items.category][:, None],
        "holiday": HOLIDAY_EFFECT * scene.holiday[days][:, None, None].astype(float),
        "weather": _weather(scene, first, count),
        "economy": CONFIDENCE_EFFECT * (scene.moods.confidence[days] - 100)[:, None, None],
        "advertising": scene.moods.advertising[days][:, None],
        "price": items.elasticity * log_price,
        "competition": CROSS_ELASTICITY * _others(scene, log_price),
        "promotion": items.response * attention,
        "after_promotion": items.response * tired,
        "interest": INTEREST_EFFECT * _earlier_interest(scene, first, count)[:, None],
    }


def rate(scene: Scene, first: int, count: int, parts: Components | None = None) -> NDArray[np.float64]:
    """Return the expected units asked for `[days, locations, items]`; 0 on closed days and outside items' lives."""
    added = np.zeros((count, scene.settings.locations, scene.settings.items))
    for part in (parts or components(scene, first, count)).values():
        added += part
    return np.exp(added) * live(scene, first, count)[:, None] * scene.open[first : first + count, None, None]


def live(scene: Scene, first: int, count: int) -> NDArray[np.bool_]:
    """Return which items are sold on which days `[days, N]`."""
    days = np.arange(first, first + count)[:, None]
    return (days >= scene.items.launched) & (days < scene.items.ended)


def price_cents(scene: Scene, first: int, count: int, known_on: int | None = None) -> NDArray[np.int64]:
    """Return selling prices in cents `[days, locations, items]`.

    Args:
        scene: the world.
        first: the first day.
        count: how many days.
        known_on: only promotions that were announced up to this day count; all of them without it.
    """
    shape = (count, scene.settings.locations, scene.settings.items)
    held = scene.promotions
    if known_on is not None:
        held = held.take(held.announced <= known_on)
    cut = filled_with_largest(held.boxes, held.cut, first, shape)
    np.maximum(cut, filled_with_largest(scene.prices.spells, scene.prices.cut, first, shape), out=cut)
    list_price = scene.prices.list_price[first : first + count, None].astype(np.float64)
    return np.maximum(np.rint(list_price * (1 - cut) * CENTS), 1).astype(np.int64)


def interest_of(scene: Scene, first: int, count: int) -> NDArray[np.float32]:
    """Return the interest of the days themselves, which browsing follows at once `[days, N]`."""
    return scene.moods.interest[MAX_LEAD_DAYS + first : MAX_LEAD_DAYS + first + count]


def anticipation(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    """Return by how much a festival of the coming days exceeds the day itself, in logs `[days, N]`."""
    padded = np.concatenate([scene.festival, np.repeat(scene.festival[-1:], ANTICIPATION_DAYS, axis=0)])
    ahead = np.stack([padded[first + lead : first + lead + count] for lead in range(1, ANTICIPATION_DAYS + 1)])
    return np.maximum(ahead.max(axis=0) - padded[first : first + count], 0)[:, scene.items.category]


def _log_price(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    return np.log(price_cents(scene, first, count) / (scene.items.list_price * CENTS))


def _others(scene: Scene, log_price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean log price of the category's other items, weighted by usual sales."""
    edges, weight = scene.items.first_of_category, scene.usual_weight
    of_category = np.repeat(np.arange(len(edges)), np.diff(edges, append=len(weight)))
    weights = np.add.reduceat(weight, edges)[of_category] - weight
    sums = np.add.reduceat(log_price * weight, edges, axis=-1)[..., of_category] - log_price * weight
    return np.where(weights > 1e-9, sums / np.maximum(weights, 1e-9), 0)  # noqa: PLR2004 - an item alone in its category


def _trend(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    years = np.arange(first, first + count)[:, None] / 365.25
    return years * (scene.settings.growth_a_year + scene.items.slope)


def _life(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    """Return how little known a new item is, and how an old one is forgotten `[days, N]`."""
    days = np.arange(first, first + count)[:, None]
    age = np.maximum(days - scene.items.launched, 0)
    left = np.maximum(scene.items.ended - days, 0)
    return np.log1p(-0.9 * np.exp(-age / RAMP_DAYS)) - DECLINE_A_DAY * np.maximum(DECLINE_DAYS - left, 0)


def _weekday(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    weekday = (np.arange(first, first + count) + scene.settings.start.weekday()) % 7
    return _WEEKDAY[weekday][:, None] + _LEISURE[weekday][:, None] * scene.items.of("weekend")


def _season(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * (day_of_year(scene.settings)[first : first + count, None] - scene.items.of("peak_day")) / 365.25
    return scene.items.of("season") * (np.cos(angle) + 0.15 * np.cos(2 * angle))


def _weather(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    """Return what departures from the season's norm and rain do at each location."""
    days, weather = slice(first, first + count), scene.weather
    departure = (weather.temperature[days] - weather.norm[days])[:, scene.region, None] / 10
    rain = np.minimum(weather.rain[days], MOST_RAIN_MM)[:, scene.region, None] / 10
    return departure * scene.items.of("warmth") + rain * scene.items.of("rain")


def _earlier_interest(scene: Scene, first: int, count: int) -> NDArray[np.float64]:
    """Return the mean interest of the days before each day, as many as browsing runs ahead `[days, N]`."""
    interest, lead = scene.moods.interest, scene.settings.interest_lead_days
    begin = MAX_LEAD_DAYS + first
    return np.mean([interest[begin - lag : begin - lag + count] for lag in range(1, lead + 1)], axis=0)


def _holidays(settings: SimulatorSettings) -> NDArray[np.bool_]:
    found = np.zeros(settings.days, bool)
    for country in settings.countries[:1]:
        for day, _ in holiday_days(country, settings.start.year, settings.end.year):
            position = (day - settings.start).days
            if 0 <= position < settings.days:
                found[position] = True
    return found
