"""The base of everything that a market's YAML may say: unknown keys are refused, values never change."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """A part of a market's YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)
