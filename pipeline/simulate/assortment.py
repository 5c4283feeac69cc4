"""What the shop sells: a hand-written assortment, from which any number of items with a life of their own is drawn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["ASSORTMENT", "Category", "Items", "make_items"]

LAUNCHED_BEFORE_DAYS = 1500
"""Items that are older than the world were launched at most this long before it."""
MIN_LIFE_DAYS = 150


@dataclass(frozen=True)
class Category:
    """A category with what is typical of its items."""

    department: str
    name: str
    types: tuple[str, ...]
    price: float
    """Middle of the price range."""
    elasticity: float
    """Middle of its items' own-price elasticities."""
    season: float = 0.0
    """Amplitude of the yearly wave of log demand."""
    peak_day: int = 196
    """Day of the year on which the yearly wave is highest."""
    weekend: float = 0.15
    """Log demand of a Saturday above that of a Tuesday."""
    warmth: float = 0.0
    """Log demand for 10 degrees above the season's norm."""
    rain: float = 0.0
    """Log demand for 10 mm of rain."""
    festive: float = 1.0
    """How strongly festivals move it."""
    spring_festive: float = 1.0
    """How strongly people stock up on it before the Spring Festival."""
    returns: float = 0.04
    """Share of sold lines that are sent back."""


ASSORTMENT = (
    Category("Fashion", "Shoes", ("Running shoes", "Sandals", "Boots"), 59, -1.9, 0.15, 120, returns=0.16, festive=1.2),
    Category("Fashion", "Outerwear", ("Down jacket", "Rain jacket", "Wool coat"), 119, -2.0, 0.9, 335, warmth=-0.25,
             rain=0.08, returns=0.14, festive=1.3),
    Category("Fashion", "Shirts", ("T-shirt", "Oxford shirt", "Polo shirt"), 24, -2.2, 0.45, 180, warmth=0.15,
             returns=0.12),
    Category("Electronics", "Audio", ("Headphones", "Earbuds", "Bluetooth speaker"), 79, -2.4, 0.1, 345, weekend=0.05,
             festive=1.3, spring_festive=0.4, returns=0.06),
    Category("Electronics", "Phone accessories", ("Charger", "Power bank", "Phone case"), 19, -1.6, weekend=-0.05,
             festive=1.1, spring_festive=0.3),
    Category("Home", "Kitchen", ("Kettle", "Frying pan", "Storage box"), 34, -1.7, 0.08, 340, festive=1.3,
             spring_festive=0.8),
    Category("Home", "Climate", ("Fan", "Humidifier", "Heater"), 54, -1.5, 0.5, 190, warmth=0.35, festive=0.8,
             spring_festive=0.3),
    Category("Home", "Bedding", ("Quilt", "Pillow", "Bed sheet"), 49, -1.8, 0.3, 320, warmth=-0.12, festive=1.2,
             spring_festive=0.6, returns=0.07),
    Category("Beauty", "Skin care", ("Sun cream", "Face cream", "Face mask"), 22, -1.4, 0.2, 185, warmth=0.1,
             weekend=0.08, festive=1.35, spring_festive=0.7, returns=0.02),
    Category("Beauty", "Make-up", ("Lipstick", "Mascara", "Foundation"), 18, -1.6, weekend=0.12, festive=1.25,
             spring_festive=0.9, returns=0.03),
    Category("Food", "Snacks", ("Mixed nuts", "Biscuits", "Chocolate box"), 9, -1.3, 0.2, 20, weekend=0.25,
             festive=0.7, spring_festive=2.4, returns=0.005),
    Category("Food", "Drinks", ("Green tea", "Coffee beans", "Sparkling water"), 12, -1.2, 0.15, 190, warmth=0.2,
             weekend=0.2, festive=0.6, spring_festive=1.6, returns=0.005),
    Category("Sports", "Fitness", ("Yoga mat", "Dumbbells", "Skipping rope"), 29, -1.8, 0.3, 15, weekend=0.1,
             rain=0.05, festive=0.9, spring_festive=0.3),
    Category("Sports", "Outdoor", ("Tent", "Umbrella", "Backpack"), 45, -1.6, 0.5, 150, warmth=0.2, rain=0.25,
             weekend=0.3, festive=0.8, spring_festive=0.3),
)  # fmt: skip

_BRANDS = (
    "Alder", "Bluefin", "Corvo", "Dovetail", "Elmwood", "Fjellrev", "Ginkgo", "Harbour", "Inkwell", "Juno", "Kestrel",
    "Lumen", "Meridian", "Northwind", "Osmanthus", "Plain Goods",
)  # fmt: skip
_STYLES = ("Classic", "Light", "Everyday", "Studio", "Travel", "Original", "Family", "Compact", "Premium", "Urban")
_COLOURS = ("black", "white", "sand", "navy", "sage", "rose", "grey", "amber")
_VARIANTS = {
    "Food": ("200 g", "350 g", "500 g", "1 kg", "gift box", "family pack", "trial size", "pack of six"),
    "Beauty": ("30 ml", "50 ml", "100 ml", "travel size", "refill", "set of two", "sensitive", "matte"),
}
"""What tells variants of an item apart, by department; colours elsewhere."""
_SIZES = ("S", "M", "L", "one size")


@dataclass(frozen=True)
class Items:
    """The items `[N]`, ordered by category; what only the simulator knows stands beside what the catalogue tells."""

    name: tuple[str, ...]
    title: tuple[str, ...]
    brand: tuple[str, ...]
    type: tuple[str, ...]
    attributes: tuple[str, ...]
    category: NDArray[np.int64]
    """Position in `ASSORTMENT`."""
    launched: NDArray[np.int64]
    """Day of launch, counted from the world's first day; negative where an item is older."""
    ended: NDArray[np.int64]
    """First day on which it is no longer sold; far beyond the world where it does not end."""
    list_price: NDArray[np.float64]
    level: NDArray[np.float64]
    """Log of the units a day that a usual day would bring, all locations together."""
    slope: NDArray[np.float64]
    """Log growth a year beside that of the shop."""
    elasticity: NDArray[np.float64]
    response: NDArray[np.float64]
    """How strongly promotions and advertising move it, 1 in the middle."""
    conversion: NDArray[np.float64]
    """Views for a unit of demand, as a factor around the market's mean."""
    lead_days: NDArray[np.int64]
    """How long its suppliers take."""

    @property
    def first_of_category(self) -> NDArray[np.int64]:
        """Positions at which a new category begins, for sums by category."""
        return np.flatnonzero(np.diff(self.category, prepend=-1))

    def of(self, attribute: str) -> NDArray[np.float64]:
        """Return a number of each item's category `[N]`."""
        return np.array([getattr(ASSORTMENT[code], attribute) for code in range(len(ASSORTMENT))])[self.category]


def make_items(settings: SimulatorSettings) -> Items:
    """Draw the items of a world: popularity by Zipf's law with a lognormal scatter, prices lognormal."""
    draw = generator(settings.seed, Stream.ITEMS)
    count = settings.items
    category = np.sort(draw.integers(0, len(ASSORTMENT), count))
    kinds = draw.integers(0, 3, count)
    brands = draw.integers(0, len(_BRANDS), count)
    styles, colours, sizes = (draw.integers(0, len(words), count) for words in (_STYLES, _COLOURS, _SIZES))
    codes = np.sort(draw.choice(9 * max(count, 1000), count, replace=False))
    launched, ended = _lives(settings, draw)
    rank = draw.permutation(count) + 1
    level = -settings.popularity_exponent * np.log(rank) + draw.normal(0, 0.35, count)
    active_share = (np.minimum(ended, settings.days) - np.maximum(launched, 0)) / settings.days
    target = settings.orders_a_day * settings.lines_per_order * settings.units_per_line
    level += np.log(target / np.sum(np.exp(level) * active_share))
    price = np.array([kind.price for kind in ASSORTMENT])[category] * np.exp(draw.normal(0, 0.35, count))
    middle = np.array([kind.elasticity for kind in ASSORTMENT])[category]
    types = tuple(ASSORTMENT[code].types[kind] for code, kind in zip(category, kinds, strict=True))
    return Items(
        name=tuple(f"SKU{code + 100_000}" for code in codes),
        title=tuple(
            f"{_BRANDS[brand]} {_STYLES[style]} {kind.lower()}, {_variant(code, colour)}"
            for brand, style, kind, code, colour in zip(brands, styles, types, category, colours, strict=True)
        ),
        brand=tuple(_BRANDS[brand] for brand in brands),
        type=types,
        attributes=tuple(
            f'{{"size": "{_SIZES[size]}", "style": "{_STYLES[style].lower()}", "variant": "{_variant(code, colour)}"}}'
            for code, colour, size, style in zip(category, colours, sizes, styles, strict=True)
        ),
        category=category,
        launched=launched,
        ended=ended,
        list_price=np.maximum(np.round(price) - 0.01, 0.99),
        level=level,
        slope=draw.normal(0, 0.08, count),
        elasticity=np.clip(middle + draw.normal(0, 0.35, count), -4, -0.4),
        response=np.exp(draw.normal(0, 0.25, count)),
        conversion=np.exp(draw.normal(0, 0.3, count)),
        lead_days=draw.integers(3, 15, count),
    )


def _variant(category: int, number: int) -> str:
    return _VARIANTS.get(ASSORTMENT[category].department, _COLOURS)[number]


def _lives(settings: SimulatorSettings, draw: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each item's first day and the first day after its life `[N]`."""
    count, days = settings.items, settings.days
    is_new = draw.random(count) < settings.new_share
    launched = np.where(is_new, draw.integers(0, days, count), -draw.integers(1, LAUNCHED_BEFORE_DAYS, count))
    is_ending = draw.random(count) < settings.ended_share
    earliest = np.maximum(launched, 0) + MIN_LIFE_DAYS
    ends_at = earliest + np.floor(draw.random(count) * np.maximum(days - earliest, 0)).astype(np.int64)
    never = days + LAUNCHED_BEFORE_DAYS
    return launched, np.where(is_ending & (ends_at < days), ends_at, never)
