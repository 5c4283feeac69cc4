"""What visitors do on a day: sessions of views, with the searches, favourites and cart adds that go with them.

Browsing follows an item's interest at once and demand follows it days later, and it swells before festivals, when
people choose what they mean to buy. A funnel in the manner of the NBD-Dirichlet (Goodhardt, Ehrenberg and Chatfield:
The Dirichlet. Journal of the Royal Statistical Society A 147, 1984): gamma-distributed busyness of visitors, and shares
of the steps that react to price, promotion and stock.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.demand import anticipation, components, interest_of, live
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.people import People
from pipeline.simulate.world import World

__all__ = ["EVENTS", "Browsing", "Visits"]

EVENTS = ("view", "search", "favourite", "cart")
"""Names of the events, by their codes."""
VIEWS_A_SESSION = 3.5
_PERCENT_BY_HOUR = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 4, 4, 4, 4, 5, 6, 7, 9, 9, 6, 4])
"""Sessions that begin in each hour of the day."""
_SHARES = {"search": 0.22, "favourite": 0.07, "cart": 0.2}
_SECONDS_OF_DAY = 86_400


@dataclass(frozen=True)
class Visits:
    """Events of one day `[n]`, by time."""

    event: NDArray[np.int64]
    """Position in `EVENTS`."""
    cell: NDArray[np.int64]
    user: NDArray[np.int64]
    second: NDArray[np.int64]
    """Second of the day."""


class Browsing:
    """The visitors of a world, day by day."""

    def __init__(self, world: World, people: People) -> None:
        self._world = world
        self._people = people
        self._blocks: OrderedDict[int, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]
        self._blocks = OrderedDict()

    def of(self, day: int) -> Visits:
        """Return the events of a day."""
        settings = self._world.scene.settings
        draw = generator(settings.seed, Stream.BROWSING, day)
        views, cart, favourite = self._rates(day)
        viewed = np.repeat(np.arange(len(views)), draw.poisson(views))
        # Views of one location in a random order; then neighbours share a session.
        viewed = viewed[draw.permutation(len(viewed))]
        location = viewed // settings.items
        by_place = np.argsort(location, kind="stable")
        viewed, location = viewed[by_place], location[by_place]
        user, second = self._sessions(draw, location)
        in_stock = 0.1 + 0.9 * self._world.in_stock[day][viewed]
        chance = {
            "search": np.full(len(viewed), _SHARES["search"]),
            "favourite": favourite[viewed],
            "cart": cart[viewed] * in_stock,
        }
        rows = [np.arange(len(viewed))]
        rows += [np.flatnonzero(draw.random(len(viewed)) < chance[name]) for name in EVENTS[1:]]
        event = np.repeat(np.arange(len(EVENTS)), [len(row) for row in rows])
        row = np.concatenate(rows)
        # A search comes before its view, the other steps after it.
        shift = np.array([0, -8, 15, 25])[event] + draw.integers(0, 6, len(row))
        when = np.clip(second[row] + shift, 0, _SECONDS_OF_DAY - 1)
        by_time = np.argsort(when, kind="stable")
        return Visits(event[by_time], viewed[row][by_time], user[row][by_time], when[by_time])

    def _sessions(
        self, draw: np.random.Generator, location: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return who looks, and at which second of the day, for each view."""
        begins = draw.random(len(location)) < 1 / VIEWS_A_SESSION
        begins |= np.diff(location, prepend=-1) != 0
        first = np.flatnonzero(begins)
        session = np.cumsum(begins) - 1
        user = self._people.draw(draw, location[first])
        hour = draw.choice(24, len(first), p=_PERCENT_BY_HOUR / _PERCENT_BY_HOUR.sum())
        start = hour * 3600 + draw.integers(0, 3600, len(first))
        pace = np.cumsum(draw.integers(20, 120, len(location)))
        return user[session], start[session] + pace - pace[first][session]

    def _rates(self, day: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean views, and the shares of views with a cart add and with a favourite, of each cell `[C]`."""
        scene = self._world.scene
        first, count = next(block for block in scene.blocks() if block[0] <= day < sum(block))
        if first not in self._blocks:
            self._blocks[first] = self._block(first, count)
            while len(self._blocks) > 2:  # noqa: PLR2004 - neighbours
                self._blocks.popitem(last=False)
        views, cart, favourite = self._blocks[first]
        return views[day - first], cart[day - first], favourite[day - first]

    def _block(self, first: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        scene = self._world.scene
        shape = (count, scene.settings.locations, scene.settings.items)
        parts = components(scene, first, count)
        waiting = anticipation(scene, first, count)[:, None]
        looks = np.zeros(shape)
        for name in ("level", "trend", "life", "weekday", "season", "festival", "holiday", "weather", "economy"):
            looks += parts[name]
        looks += 1.3 * parts["advertising"] + 0.3 * parts["price"] + 1.1 * parts["promotion"] + 0.5 * waiting
        looks += interest_of(scene, first, count)[:, None]
        views = np.exp(looks) * scene.settings.views_a_unit * scene.items.conversion
        views *= live(scene, first, count)[:, None]
        lure = 0.6 * parts["price"] + 0.4 * parts["promotion"] + 0.5 * waiting
        cart = np.minimum(_SHARES["cart"] * np.exp(lure), 0.85)
        favourite = np.broadcast_to(np.minimum(_SHARES["favourite"] * np.exp(0.9 * waiting), 0.6), shape)
        return views.reshape(count, -1), cart.reshape(count, -1), favourite.reshape(count, -1)
