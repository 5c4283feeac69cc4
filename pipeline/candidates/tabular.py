"""Settings of the tabular forecasters."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = ["LightGBMSettings"]


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
