"""What a market's YAML may say of its simulated world, under the key `simulator`."""

from datetime import date, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.settings import Settings

__all__ = ["Festival", "SimulatorSettings"]

Festival = Literal["double_11", "618", "black_friday", "spring_festival"]

_Share = Annotated[float, Field(ge=0, le=1)]


class SimulatorSettings(Settings):
    """One seeded world: equal settings give equal rows, byte for byte; all feeds of a market describe the same one."""

    seed: int = Field(default=1, ge=0)
    start: date = date(2022, 1, 1)
    """The world's first day."""
    days: PositiveInt = 1461
    """How many days the world lasts; its sources have nothing about later ones."""
    items: PositiveInt = 200
    locations: PositiveInt = 1
    regions: PositiveInt = 1
    """Regions with a climate each; locations belong to them in turn."""
    customers: PositiveInt = 20_000
    orders_a_day: PositiveFloat = 300
    """Mean orders a day in an ordinary week of the first year, all locations together."""
    lines_per_order: float = Field(default=1.6, ge=1)
    units_per_line: float = Field(default=1.25, ge=1)
    growth_a_year: float = Field(default=0.08, ge=-1, le=1)
    """Log growth of the whole shop in a year."""
    popularity_exponent: float = Field(default=0.7, ge=0, le=2)
    """How steeply demand falls with an item's rank (Zipf); the larger, the more items hardly sell."""
    dispersion: PositiveFloat = 8.0
    """Size parameter of the negative binomial counts: variance = mean + mean^2 / dispersion."""
    new_share: _Share = 0.3
    """Items that are launched while the world lasts."""
    ended_share: _Share = 0.12
    """Items whose life ends while the world lasts."""

    promotion_share: float = Field(default=0.08, ge=0, le=0.5)
    """Share of an item's days on promotion."""
    unplanned_share: _Share = 0.1
    """Promotions that are announced only on the eve of their start."""
    plan_days: int = Field(default=42, ge=0)
    """How many days ahead prices, promotions, advertising and opening days are planned."""
    forecast_days: int = Field(default=28, ge=1, le=60)
    """How many days ahead the weather is forecast."""
    advertised_share: _Share = 0.15
    """Items that get advertising campaigns of their own; a category in four gets common ones."""
    festivals: tuple[Festival, ...] = ("double_11", "618", "black_friday", "spring_festival")
    countries: tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...] = ("CN",)
    """Whose public holidays the calendar tells; those of the first one also move demand."""
    closed_weekdays: tuple[Annotated[int, Field(ge=0, le=6)], ...] = ()
    """Weekdays without sales; Monday is 0."""
    closed_holidays: tuple[str, ...] = ()
    """Days of the year without sales, such as `12-25`."""

    stockout_pressure: _Share = 0.35
    """How thin safety stocks are and how often suppliers are late; at 0 no demand is ever lost."""
    return_share: _Share = 1.0
    """Factor on the categories' own shares of sold lines that are sent back."""
    interest_lead_days: int = Field(default=3, ge=1, le=14)
    """By how many days browsing runs ahead of demand, at most."""
    events: bool = True
    """Whether visitors are simulated."""
    views_a_unit: PositiveFloat = 3.0
    """Mean views for each unit of demand; the volume of click events follows from it."""

    late_share: _Share = 0.03
    """Order lines that the source shows only days later."""
    late_days: PositiveInt = 5
    correction_share: _Share = 0.01
    """Order lines whose units or revenue are first wrong and corrected later."""
    correction_days: PositiveInt = 10
    deleted_share: _Share = 0.003
    """Order lines, as a share of the true ones, that were never real and are deleted later."""
    dirty_share: _Share = 0.0
    """Broken rows beside the good ones, as a share of them."""

    @property
    def end(self) -> date:
        """The world's last day."""
        return self.start + timedelta(days=self.days - 1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.regions > self.locations:
            msg = f"regions is {self.regions}, but there are only {self.locations} locations to lie in them"
            raise ValueError(msg)
        if self.customers < self.locations:
            msg = f"customers is {self.customers}, but each of the {self.locations} locations needs at least one"
            raise ValueError(msg)
        if not 1990 <= self.start.year <= self.end.year <= 2090:  # noqa: PLR2004 - the lunar calendar that we use
            msg = f"the world lasts from {self.start} to {self.end}; keep it between 1990 and 2090"
            raise ValueError(msg)
        if set(self.closed_weekdays) == set(range(7)):
            msg = "closed_weekdays names every weekday, so nothing could ever be sold; leave one open"
            raise ValueError(msg)
        for day in self.closed_holidays:
            _day_of_year(day)
        return self


def _day_of_year(text: str) -> date:
    try:
        return date.fromisoformat(f"2024-{text}")
    except ValueError as exc:
        msg = f"closed_holidays holds '{text}', which is no day of the year such as '12-25'"
        raise ValueError(msg) from exc
