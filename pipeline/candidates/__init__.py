"""What a market's YAML may say of its candidates: one settings class a forecaster, validated without importing it."""

from collections.abc import Mapping
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
    "DEFAULT",
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


DEFAULT: Mapping[str, Mapping[str, str]] = {
    "seasonal_naive": {"model": "seasonal_naive"},
    "ets": {"model": "ets"},
    "lightgbm": {"model": "lightgbm"},
    "perceptron": {"model": "perceptron"},
    "ensemble": {"model": "ensemble"},
}
"""The candidates of a market that names none: cheap ones that err in different ways, and their average."""


def with_members(candidates: Mapping[str, Any]) -> dict[str, Any]:
    """Return candidates, as read from a market's YAML, with the settings of each ensemble's members filled in.

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


def _members(name: str, ensemble: dict[str, Any], others: dict[str, Any]) -> Any:  # noqa: ANN401
    wanted = ensemble.get("members")
    if wanted is None:
        return {name: given for name, given in others.items() if given.get("model") != "seasonal_naive"} or others
    if not isinstance(wanted, list):
        return wanted
    for member in wanted:
        if member not in others:
            msg = f"the ensemble '{name}' has the member '{member}', but it can average only {', '.join(others)}"
            raise ValueError(msg)
    return {member: others[member] for member in wanted}
