"""The forecasters that stand by themselves, and can be members of an ensemble."""

from typing import Annotated

from pydantic import Field

from pipeline.candidates.neural import CnnLSTMSettings, GRUSettings, LSTMSettings, PatchTransformerSettings
from pipeline.candidates.statistical import (
    ArimaSettings,
    CategorySarimaxSettings,
    EtsSettings,
    IntermittentSettings,
    MovingAverageSettings,
    SeasonalNaiveSettings,
    ThetaSettings,
)
from pipeline.candidates.tabular import (
    LightGBMMeanSettings,
    LightGBMSettings,
    LinearSettings,
    PerceptronSettings,
    RandomForestSettings,
    SVRSettings,
)

__all__ = ["MemberSettings"]

MemberSettings = Annotated[
    SeasonalNaiveSettings
    | MovingAverageSettings
    | EtsSettings
    | ThetaSettings
    | ArimaSettings
    | IntermittentSettings
    | CategorySarimaxSettings
    | LightGBMSettings
    | LightGBMMeanSettings
    | RandomForestSettings
    | LinearSettings
    | PerceptronSettings
    | SVRSettings
    | LSTMSettings
    | GRUSettings
    | CnnLSTMSettings
    | PatchTransformerSettings,
    Field(discriminator="model"),
]
