"""What a market's YAML may say of its candidates: one settings class a forecaster, validated without importing it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = [
    "NEURAL",
    "CandidateSettings",
    "CategorySarimaxSettings",
    "LSTMSettings",
    "LightGBMSettings",
    "SeasonalNaiveSettings",
]


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
    """Trailing periods from which an item's share of its group is taken; 56 days or 13 weeks where none is given."""


class LightGBMSettings(Settings):
    """Gradient-boosted trees on one feature table, direct over the horizon, with count quantiles around their mean."""

    model: Literal["lightgbm"]
    trees: PositiveInt = 200
    leaves: int = Field(default=31, ge=2)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    rows: PositiveInt = 200_000
    """Training rows sampled from all series, origins and leads."""
    min_rows_in_leaf: PositiveInt = 100
    variance_power: float = Field(default=1.3, gt=1, lt=2)
    """Tweedie power: near 1 demand scatters as counts do, near 2 in proportion to its mean."""
    threads: PositiveInt = 1
    """Threads of one fit; more help only where cores are idle."""


class LSTMSettings(Settings):
    """An LSTM encoder of the past, with a dense decoder that sees the known future (Keras)."""

    model: Literal["lstm"]
    units: PositiveInt = 48
    context_periods: PositiveInt | None = None
    """Periods that the encoder sees, rounded up to whole steps; 56 days or 56 weeks where none is given."""
    periods_per_step: PositiveInt | None = None
    """Periods that the encoder reads at once, 7 days or 4 weeks: a week a step is fast and keeps weekdays apart."""
    epochs: PositiveInt = 6
    steps_per_epoch: PositiveInt = 40
    closing_steps: int = Field(default=40, ge=0)
    """Steps on the whole history once the best epoch is known by a held-out tail."""
    patience: PositiveInt = 3
    """Epochs without a lower held-out loss after which learning stops."""
    batch_size: PositiveInt = 256
    learning_rate: float = Field(default=6e-3, gt=0, le=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


CandidateSettings = Annotated[
    SeasonalNaiveSettings | CategorySarimaxSettings | LightGBMSettings | LSTMSettings,
    Field(discriminator="model"),
]

NEURAL: frozenset[str] = frozenset({"lstm"})
"""Models that train on the queue `gpu`."""
