"""What a market's YAML may say of its candidates: one settings class a forecaster, validated without importing it."""

from typing import Annotated, Any

from pydantic import Field

from pipeline.candidates.ensemble import EnsembleSettings
from pipeline.candidates.members import MemberSettings
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

__all__ = [
    "NEURAL",
    "ArimaSettings",
    "CandidateSettings",
    "CategorySarimaxSettings",
    "CnnLSTMSettings",
    "EnsembleSettings",
    "EtsSettings",
    "GRUSettings",
    "IntermittentSettings",
    "LSTMSettings",
    "LightGBMMeanSettings",
    "LightGBMSettings",
    "LinearSettings",
    "MemberSettings",
    "MovingAverageSettings",
    "PatchTransformerSettings",
    "PerceptronSettings",
    "RandomForestSettings",
    "SVRSettings",
    "SeasonalNaiveSettings",
    "ThetaSettings",
    "with_members",
]

CandidateSettings = Annotated[MemberSettings | EnsembleSettings, Field(discriminator="model")]

NEURAL: frozenset[str] = frozenset({"cnn_lstm", "gru", "lstm", "patch_transformer"})
"""Models that train on the queue `gpu`."""


def with_members(candidates: dict[str, Any]) -> dict[str, Any]:
    """Return a market's candidates, as read from its YAML, with the settings of each ensemble's members filled in.

    Raises:
        ValueError: if an ensemble names something that is no other candidate, or another ensemble.
    """
    others = {name: given for name, given in candidates.items() if not _is_ensemble(given)}
    return {
        name: given | {"members": _members(name, given, others)} if _is_ensemble(given) else given
        for name, given in candidates.items()
    }


def _is_ensemble(given: Any) -> bool:  # noqa: ANN401 - as it comes from YAML
    return isinstance(given, dict) and given.get("model") == "ensemble"


def _members(name: str, given: dict[str, Any], others: dict[str, Any]) -> Any:  # noqa: ANN401
    wanted = given.get("members")
    if wanted is None:
        return others
    if not isinstance(wanted, list):
        return wanted
    for member in wanted:
        if member not in others:
            msg = f"the ensemble '{name}' has the member '{member}', but it can average only {', '.join(others)}"
            raise ValueError(msg)
    return {member: others[member] for member in wanted}
