"""Settings of the ensemble."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.candidates.members import MemberSettings
from pipeline.settings import Settings

__all__ = ["EnsembleSettings"]


class EnsembleSettings(Settings):
    """A weighted average of other candidates' quantiles, weighed by how their past forecasts did."""

    model: Literal["ensemble"]
    members: dict[str, MemberSettings] = Field(min_length=1)
    """Names of other candidates of the market; where none is named, all but the seasonal naive and ensembles."""
    picks: PositiveInt = 20
    """How often a member is picked, with repeats: weights are whole multiples of one part in so many."""
