"""The world's daily counts: what was asked for, what the stock let be sold, and what was on hand in the evening."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.demand import Scene, live, make_scene, rate
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["World", "world"]

Counts = NDArray[np.int32]
"""A cell is an item at a location; cells stand as `[L, N]` read row by row."""

PLANNED_COVER_DAYS = 14
"""How many days of demand an order is meant to last for."""
SMOOTHING = 0.08
"""Weight of the last day in the planner's idea of usual demand."""
MAX_SUPPLY_DAYS = 32


@dataclass(frozen=True)
class World:
    """A scene and its counts, each `[T, C]` for C = locations x items cells.

    Every day: on hand in the evening = on hand the evening before + received in the morning - sold.
    """

    scene: Scene
    demand: Counts
    """Units that were asked for, whether they were there or not."""
    sold: Counts
    """min(demand, stock)."""
    on_hand: Counts
    """Units left in the evening."""
    in_stock: NDArray[np.float32]
    """Share of the day in which the item could be bought."""


@lru_cache(maxsize=2)
def world(settings: SimulatorSettings) -> World:
    """Return the world of some settings; two are kept, each with 16 bytes a cell and day."""
    scene = make_scene(settings)
    days, cells = settings.days, settings.locations * settings.items
    made = World(
        scene=scene,
        demand=np.zeros((days, cells), np.int32),
        sold=np.zeros((days, cells), np.int32),
        on_hand=np.zeros((days, cells), np.int32),
        in_stock=np.zeros((days, cells), np.float32),
    )
    warehouse = _Warehouse(scene)
    for first, count in scene.blocks():
        expected = rate(scene, first, count).reshape(count, cells)
        is_live = np.repeat(live(scene, first, count)[:, None], settings.locations, axis=1).reshape(count, cells)
        for day in range(first, first + count):
            made.demand[day] = _asked(settings, day, expected[day - first])
            warehouse.live_through(day, made, is_live[day - first])
    return made


def _asked(settings: SimulatorSettings, day: int, expected: NDArray[np.float64]) -> Counts:
    """Return negative binomial counts as Poisson counts of a gamma rate `[C]`."""
    draw = generator(settings.seed, Stream.DEMAND, day)
    spread = draw.gamma(settings.dispersion, 1 / settings.dispersion, len(expected))
    return draw.poisson(np.minimum(expected * spread, 1e6)).astype(np.int32)


class _Warehouse:
    """Stock under daily review: at or below s, order up to S; what is out of stock is lost, not waited for.

    Silver, Pyke and Thomas, Inventory and Production Management in Supply Chains, 4th edition, chapter 7.
    """

    def __init__(self, scene: Scene) -> None:
        settings = scene.settings
        self._settings = settings
        self._lead = np.tile(scene.items.lead_days, settings.locations)
        self._ended = np.tile(scene.items.ended, settings.locations)
        self._category = np.tile(scene.items.category, settings.locations)
        self._on_hand = np.zeros(len(self._lead), np.int64)
        self._coming = np.zeros((MAX_SUPPLY_DAYS, len(self._lead)), np.int64)
        usual = scene.items.level + scene.place_level[:, None]
        self._usual = np.exp(usual).ravel()
        self._was_live = np.zeros(len(self._lead), bool)
        self._ahead = _festival_ahead(scene.festival, settings.stockout_pressure)
        self._safety = 2.6 - 3.4 * settings.stockout_pressure

    def live_through(self, day: int, made: World, is_live: NDArray[np.bool_]) -> None:
        """Receive in the morning, sell over the day, review in the evening."""
        draw = generator(self._settings.seed, Stream.SUPPLY, day)
        demand = made.demand[day]
        low, high = self._levels(day)
        starting = is_live & ~self._was_live
        opening = np.maximum(np.ceil(low + (high - low) * draw.random(len(low))), 1).astype(np.int64)
        arrived = self._coming[day % MAX_SUPPLY_DAYS]
        self._on_hand += np.where(is_live, arrived, 0) + np.where(starting, opening, 0)
        arrived[:] = 0
        if self._settings.stockout_pressure == 0:
            self._on_hand += np.maximum(demand + 1 - self._on_hand, 0) * is_live
        self._on_hand *= is_live
        sold = np.minimum(demand, self._on_hand)
        share = np.where(demand > self._on_hand, self._on_hand / (demand + 1), (self._on_hand > 0).astype(float))
        self._on_hand -= sold
        made.sold[day], made.on_hand[day], made.in_stock[day] = sold, self._on_hand, np.where(is_live, share, 0)
        self._was_live = is_live
        self._learn(sold, share, is_live)
        self._review(day, draw, is_live)

    def _levels(self, day: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return s and S of each cell `[C]`."""
        planned = self._usual * self._ahead[day, self._category]
        over_lead = planned * (self._lead + 1)
        low = over_lead + self._safety * np.sqrt(over_lead + over_lead**2 / self._settings.dispersion / 4)
        low = np.maximum(low, 0)
        return low, low + np.maximum(planned * PLANNED_COVER_DAYS, 1)

    def _learn(self, sold: Counts, share: NDArray[np.float64], is_live: NDArray[np.bool_]) -> None:
        """Smooth the sales of days with stock; the others say too little."""
        weight = SMOOTHING * (is_live & (share == 1))
        self._usual += weight * (sold - self._usual)

    def _review(self, day: int, draw: np.random.Generator, is_live: NDArray[np.bool_]) -> None:
        low, high = self._levels(day)
        position = self._on_hand + self._coming.sum(axis=0)
        wanted = is_live & (position <= low) & (self._ended - day > self._lead + PLANNED_COVER_DAYS)
        late = draw.random(len(low)) < 0.3 * self._settings.stockout_pressure
        days = self._lead * np.where(late, 2, 1)
        amount = np.ceil(high - position).astype(np.int64)
        cells = np.flatnonzero(wanted)
        self._coming[(day + days[cells]) % MAX_SUPPLY_DAYS, cells] += amount[cells]


def _festival_ahead(festival: NDArray[np.float64], pressure: float) -> NDArray[np.float64]:
    """Return how much more than usual the planner expects of the coming two weeks `[T, categories]`."""
    padded = np.concatenate([festival, np.repeat(festival[-1:], 2 * PLANNED_COVER_DAYS, axis=0)])
    sums = np.cumsum(np.exp(padded), axis=0)
    window = 2 * PLANNED_COVER_DAYS - 6
    ahead = (sums[window : window + len(festival)] - sums[: len(festival)]) / window
    return np.maximum(1 + (ahead - 1) * (1.3 - pressure), 0.5)
