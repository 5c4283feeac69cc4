"""Settings of the tabular forecasters."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = [
    "LightGBMMeanSettings",
    "LightGBMSettings",
    "LinearSettings",
    "PerceptronSettings",
    "RandomForestSettings",
    "SVRSettings",
]


class _TabularSettings(Settings):
    """What all tabular forecasters can be told."""

    rows: PositiveInt = 80_000
    """Training rows sampled from all series, origins and leads."""


class _TreeSettings(_TabularSettings):
    """What all forecasters of trees can be told."""

    trees: PositiveInt = 150
    leaves: int = Field(default=31, ge=2)
    min_rows_in_leaf: PositiveInt = 80
    feature_share: float = Field(default=0.4, gt=0, le=1)
    """Share of the features that a tree is grown on."""
    threads: PositiveInt = 1
    """Threads of one fit; more help only where cores are idle."""


class LightGBMSettings(_TreeSettings):
    """Gradient-boosted trees on one feature table, direct over the horizon: one model a quantile, one for the mean."""

    model: Literal["lightgbm"]
    learning_rate: float = Field(default=0.06, gt=0, le=1)


class LightGBMMeanSettings(_TreeSettings):
    """Gradient-boosted trees for the mean alone, with quantiles from how demand scatters about it."""

    model: Literal["lightgbm_mean"]
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    objective: Literal["tweedie", "poisson"] = "tweedie"
    variance_power: float = Field(default=1.3, gt=1, lt=2)
    """Tweedie power: near 1 demand scatters as counts do, near 2 in proportion to its mean."""


class RandomForestSettings(_TreeSettings):
    """Random forests with quantiles in their leaves."""

    model: Literal["random_forest"]
    trees: PositiveInt = 60
    leaves: int = Field(default=255, ge=2)
    min_rows_in_leaf: PositiveInt = 30


class LinearSettings(_TabularSettings):
    """Linear regression with a ridge penalty on the standardised feature table."""

    model: Literal["linear"]
    penalty: float = Field(default=1e-3, gt=0)
    """Ridge penalty a row."""


class SVRSettings(_TabularSettings):
    """Support vector regression with a radial kernel on the standardised feature table."""

    model: Literal["svr"]
    rows: PositiveInt = 30_000
    landmarks: PositiveInt = 300
    """Sampled rows at which the kernel is evaluated."""
    width: float = Field(default=0.5, gt=0)
    """The kernel's gamma times the number of features."""
    regularisation: float = Field(default=1.0, gt=0)
    """C: how much errors outside the tube cost."""
    tube: float = Field(default=0.05, ge=0)
    """Errors smaller than this, relative to the item's level, cost nothing."""


class PerceptronSettings(_TabularSettings):
    """A dense network with residual layers on the feature table (Keras)."""

    model: Literal["perceptron"]
    rows: PositiveInt = 60_000
    width: PositiveInt = 128
    layers: PositiveInt = 3
    epochs: PositiveInt = 9
    batch_size: PositiveInt = 1024
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    weight_decay: float = Field(default=1e-3, ge=0)
