"""Settings of the statistical forecasters."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = [
    "ArimaSettings",
    "CategorySarimaxSettings",
    "EtsSettings",
    "IntermittentSettings",
    "LocalSettings",
    "MovingAverageSettings",
    "SeasonalNaiveSettings",
    "ThetaSettings",
]


class SeasonalNaiveSettings(Settings):
    """The demand of the last season again, with quantiles from how the forecasts of past seasons erred."""

    model: Literal["seasonal_naive"]
    season_periods: PositiveInt | None = None
    """Periods after which demand repeats; 7 days or 52 weeks where none is given."""


class CategorySarimaxSettings(Settings):
    """SARIMAX with calendar, promotion and price regressors a category, shared out by items' recent sales."""

    model: Literal["category_sarimax"]
    level: str | None = None
    """Name of the static attribute whose groups are modelled; the topmost where none is named."""
    share_periods: PositiveInt | None = None
    """Trailing periods from which an item"s share of its group is taken; 56 days or 13 weeks where none is given."""


class LocalSettings(Settings):
    """What the forecasters of single series have in common."""

    seasonal: bool = True
    """Whether demand is divided by factors of its weekday, and where two years are known, of its time of the year."""


class MovingAverageSettings(LocalSettings):
    """The mean of the last periods."""

    model: Literal["moving_average"]
    window: PositiveInt | None = None
    """Periods that are averaged; chosen for each series by its past errors where none is given."""


class EtsSettings(LocalSettings):
    """Exponential smoothing with a damped trend."""

    model: Literal["ets"]
    trend: bool = True
    """Whether a series may have a damped trend; the level alone is smoothed otherwise."""


class ThetaSettings(LocalSettings):
    """The Theta method: exponential smoothing with part of the history's slope as its drift."""

    model: Literal["theta"]


class ArimaSettings(LocalSettings):
    """ARIMA whose orders are searched for, one search a series."""

    model: Literal["arima"]
    series: int = Field(default=50, ge=0)
    """So many series that sell most have an ARIMA of their own; all others have an ARIMA(0,1,1)."""
    periods: int = Field(default=364, ge=30)
    """Trailing periods that orders and coefficients are searched on."""


class IntermittentSettings(LocalSettings):
    """The mean size of a sale times how often there is one, for items that sell now and then."""

    model: Literal["intermittent"]
    method: Literal["tsb", "sba", "croston"] = "tsb"
    """By Teunter, Syntetos and Babai, also for items that may die out; by Syntetos and Boylan; or as Croston had it."""
    smoothing: float | None = Field(default=None, gt=0, le=1)
    """Share of an error that goes into the means; chosen for each series by its past errors where none is given."""
