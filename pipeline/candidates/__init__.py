"""What a market's YAML may say of its candidates: one settings class a forecaster, validated without importing it."""

from typing import Annotated

from pydantic import Field

from pipeline.candidates.neural import LSTMSettings
from pipeline.candidates.statistical import CategorySarimaxSettings, SeasonalNaiveSettings
from pipeline.candidates.tabular import LightGBMSettings

__all__ = [
    "NEURAL",
    "CandidateSettings",
    "CategorySarimaxSettings",
    "LSTMSettings",
    "LightGBMSettings",
    "SeasonalNaiveSettings",
]

CandidateSettings = Annotated[
    SeasonalNaiveSettings | CategorySarimaxSettings | LightGBMSettings | LSTMSettings,
    Field(discriminator="model"),
]

NEURAL: frozenset[str] = frozenset({"lstm"})
"""Models that train on the queue `gpu`."""
