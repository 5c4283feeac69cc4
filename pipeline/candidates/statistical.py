"""Settings of the statistical forecasters."""

from typing import Literal

from pydantic import PositiveInt

from pipeline.settings import Settings

__all__ = ["CategorySarimaxSettings", "SeasonalNaiveSettings"]


class SeasonalNaiveSettings(Settings):
    """The demand of the last season again, with quantiles from how the forecasts of past seasons erred."""

    model: Literal["seasonal_naive"]
    season_periods: PositiveInt | None = None
    """Periods after which demand repeats; 7 days or 52 weeks where none is given."""


class CategorySarimaxSettings(Settings):
    """SARIMAX with calendar and promotion regressors a category, shared out to its items by their recent sales."""

    model: Literal["category_sarimax"]
    level: str | None = None
    """Name of the static attribute whose groups are modelled; the topmost where none is named."""
    share_periods: PositiveInt | None = None
    """Trailing periods from which an item"s share of its group is taken; 56 days or 13 weeks where none is given."""
