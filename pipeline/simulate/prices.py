"""Prices: list prices that move in steps, spells of lower prices, and what promotions cut off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.assortment import Items
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.spans import Boxes

__all__ = ["Prices", "make_prices"]

CHANGES_A_YEAR = 1.5
SPELLS_A_YEAR = 2.5
CLEARANCE_DAYS = 28
CLEARANCE_CUT = 0.35
CENTS = 100


@dataclass(frozen=True)
class Prices:
    """List prices `[T, N]` and the spells in which less is asked."""

    list_price: NDArray[np.float32]
    spells: Boxes
    cut: NDArray[np.float64]
    """Share of the list price that each spell takes off."""


def make_prices(settings: SimulatorSettings, items: Items) -> Prices:
    """Draw list prices and spells of lower prices, clearance at the end of an item's life among them."""
    draw = generator(settings.seed, Stream.PRICES)
    years = settings.days / 365.25
    spell_of = np.repeat(np.arange(settings.items), draw.poisson(SPELLS_A_YEAR * years, settings.items))
    start = draw.integers(0, settings.days, len(spell_of))
    length = draw.integers(7, 36, len(spell_of))
    cut = draw.choice([0.05, 0.08, 0.1, 0.12, 0.15, 0.2], len(spell_of))
    ending = np.flatnonzero(items.ended < settings.days)
    item = np.concatenate([spell_of, ending])
    first = np.concatenate([start, items.ended[ending] - CLEARANCE_DAYS])
    last = np.concatenate([start + length, items.ended[ending]])
    everywhere = np.tile([0, settings.locations], (len(item), 1))
    boxes = Boxes(np.stack([first, last], axis=1), everywhere, np.stack([item, item + 1], axis=1))
    return Prices(
        _list_prices(settings, items, draw), boxes, np.concatenate([cut, np.full(len(ending), CLEARANCE_CUT)])
    )


def _list_prices(settings: SimulatorSettings, items: Items, draw: np.random.Generator) -> NDArray[np.float32]:
    changes = draw.poisson(CHANGES_A_YEAR * settings.days / 365.25, settings.items)
    item = np.repeat(np.arange(settings.items), changes)
    day = draw.integers(0, settings.days, len(item))
    step = np.zeros((settings.days, settings.items), np.float32)
    np.add.at(step, (day, item), draw.normal(0.01, 0.06, len(item)).astype(np.float32))
    factor = np.exp(np.cumsum(step, axis=0, out=step), out=step)
    # Prices end in 9, as they do in shops.
    price = np.rint(items.list_price.astype(np.float32) * factor * 10) / 10 - np.float32(0.01)
    return np.maximum(price, np.float32(0.49))
