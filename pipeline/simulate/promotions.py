"""Promotions: what is promoted where and when, who knows of it, and how much demand it truly adds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.assortment import Items
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.festivals import festival_waves
from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.spans import Boxes

__all__ = ["KINDS", "Kind", "Promotions", "make_promotions"]


@dataclass(frozen=True)
class Kind:
    """What is typical of a kind of promotion."""

    name: str
    share: float
    """Share of all promotions that are of this kind."""
    depths: tuple[float, ...]
    cuts_price: bool
    """Whether its depth is a share off the price; else it is the prominence of the placement."""
    uplift: float
    """Log uplift by attention alone, at depth 1 for placements and at any depth for others."""
    days: tuple[int, int]
    """Shortest and longest."""
    channels: tuple[str, ...]


KINDS = (
    Kind("display", 0.3, (0.3, 0.4, 0.5, 0.6, 0.8, 1.0), cuts_price=False, uplift=0.75, days=(7, 7),
         channels=("home_page", "category_page")),
    Kind("mailer", 0.25, (0.05, 0.1, 0.15), cuts_price=True, uplift=0.25, days=(7, 14),
         channels=("email", "letter")),
    Kind("coupon", 0.3, (0.1, 0.15, 0.2, 0.25), cuts_price=True, uplift=0.15, days=(4, 10),
         channels=("app", "web")),
    Kind("flash_sale", 0.15, (0.3, 0.35, 0.4, 0.5), cuts_price=True, uplift=0.45, days=(1, 2),
         channels=("app", "live_stream")),
)  # fmt: skip

CATEGORY_SHARE = 0.04
"""Promotions that are for a whole category, as a share of a category's days over that of an item's."""
FESTIVE_SHARE = 0.2
"""Promotions that are held at a festival."""
ONE_PLACE_SHARE = 0.2
"""Promotions that are held at one location only."""
HANGOVER = 0.3
"""What demand lacks in the days after a promotion, as a share of its log uplift by attention."""
HANGOVER_DAYS = 5


@dataclass(frozen=True)
class Promotions:
    """All promotions `[P]`, by start; equal ones of a kind on the same day and place are held once."""

    boxes: Boxes
    kind: NDArray[np.int64]
    """Position in `KINDS`."""
    of_category: NDArray[np.bool_]
    """Whether it is for a whole category rather than for one item."""
    at: NDArray[np.int64]
    """Its location, or -1 for all of them."""
    depth: NDArray[np.float64]
    cut: NDArray[np.float64]
    """Share of the list price that it takes off; 0 for placements."""
    attention: NDArray[np.float64]
    """Log uplift by attention alone, for an item of response 1."""
    channel: NDArray[np.str_]
    planned: NDArray[np.bool_]
    announced: NDArray[np.int64]
    """Day on which its source begins to tell of it."""

    @property
    def hangover(self) -> Boxes:
        """The days after each promotion in which demand is lower."""
        after = self.boxes.day[:, 1]
        return Boxes(np.stack([after, after + HANGOVER_DAYS], axis=1), self.boxes.location, self.boxes.item)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Promotions":
        """Return some of the promotions."""
        columns = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name != "boxes"}
        return Promotions(self.boxes.take(chosen), **columns)


def make_promotions(settings: SimulatorSettings, items: Items) -> Promotions:
    """Draw the promotions of single items and of whole categories."""
    draw = generator(settings.seed, Stream.PROMOTIONS)
    mean_days = sum(kind.share * sum(kind.days) / 2 for kind in KINDS)
    of_items = round(settings.items * settings.days * settings.promotion_share / mean_days)
    used = np.unique(items.category)
    of_categories = round(len(used) * settings.days * settings.promotion_share * CATEGORY_SHARE / mean_days * 10)
    count = of_items + of_categories
    kind = draw.choice(len(KINDS), count, p=[kind.share for kind in KINDS])
    length = _drawn_between(draw, np.array([kind.days for kind in KINDS])[kind])
    start = _starts(settings, draw, kind, length)
    is_category = np.arange(count) >= of_items
    category = draw.choice(used, count)
    item = draw.integers(0, settings.items, count)
    first = np.where(is_category, np.searchsorted(items.category, category, "left"), item)
    last = np.where(is_category, np.searchsorted(items.category, category, "right"), item + 1)
    single = (draw.random(count) < ONE_PLACE_SHARE) & (settings.locations > 1)
    at = np.where(single, draw.integers(0, settings.locations, count), -1)
    place = np.stack([np.maximum(at, 0), np.where(single, at + 1, settings.locations)], axis=1)
    depth = np.array([draw.choice(KINDS[code].depths) for code in kind])
    channel = np.array([draw.choice(KINDS[code].channels) for code in kind], dtype=np.str_)
    placement = ~np.array([kind.cuts_price for kind in KINDS])[kind]
    uplift = np.array([kind.uplift for kind in KINDS])[kind] * np.exp(draw.normal(0, 0.2, count))
    planned = draw.random(count) >= settings.unplanned_share
    made = Promotions(
        boxes=Boxes(np.stack([start, start + length], axis=1), place, np.stack([first, last], axis=1)),
        kind=kind,
        of_category=is_category,
        at=at,
        depth=depth,
        cut=np.where(placement, 0, depth),
        attention=uplift * np.where(placement, depth, 1),
        channel=channel,
        planned=planned,
        announced=np.where(planned, start - settings.plan_days, start - 1),
    )
    return made.take(_possible(items, made))


def _starts(
    settings: SimulatorSettings, draw: np.random.Generator, kind: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return first days: some so that they cover a festival; else placements and mailers from a Monday on."""
    count = len(kind)
    start = draw.integers(0, settings.days, count)
    weekly = np.isin(kind, [0, 1])
    weekday = (start + settings.start.weekday()) % 7
    start = np.where(weekly, start - weekday, start)
    days = [(day - settings.start).days for _, day in festival_waves(settings)]
    inside = np.array([day for day in days if 0 <= day < settings.days], np.int64)
    festive = draw.random(count) < FESTIVE_SHARE
    before = np.floor(draw.random(count) * length).astype(np.int64)
    if len(inside):
        start = np.where(festive, draw.choice(inside, count) - before, start)
    return np.clip(start, 0, settings.days - 1)


def _possible(items: Items, made: Promotions) -> NDArray[np.int64]:
    """Return the promotions to hold, by start: of items that live then, and each key once."""
    first = made.boxes.item[:, 0]
    lives = (made.boxes.day[:, 0] >= items.launched[first]) & (made.boxes.day[:, 1] <= items.ended[first])
    key = np.stack([made.boxes.day[:, 0], made.of_category, first, made.at, made.kind], axis=1)
    _, once = np.unique(key, axis=0, return_index=True)
    return once[(lives | made.of_category)[once]]


def _drawn_between(draw: np.random.Generator, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    return bounds[:, 0] + np.floor(draw.random(len(bounds)) * (bounds[:, 1] - bounds[:, 0] + 1)).astype(np.int64)
