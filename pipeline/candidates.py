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
    """The same weekday's demand in the last seasons, with quantiles from how those seasons' forecasts erred."""

    model: Literal["seasonal_naive"]
    season_days: PositiveInt = 7
    """Days after which demand repeats."""


class CategorySarimaxSettings(Settings):
    """SARIMAX with calendar and promotion regressors a category, shared out to its items by their recent sales."""

    model: Literal["category_sarimax"]
    level: str | None = None
    """Name of the static attribute whose groups are modelled; the topmost where none is named."""
    share_days: PositiveInt = 56
    """Trailing days from which an item's share of its group is taken."""


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
    """An LSTM encoder over past days, with a dense decoder that sees the known future (Keras)."""

    model: Literal["lstm"]
    units: PositiveInt = 48
    context_days: PositiveInt = 56
    """Days that the encoder sees, rounded up to whole steps."""
    days_per_step: PositiveInt = 7
    """Days that the encoder reads at once: a week a step is fast and keeps weekdays apart."""
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
