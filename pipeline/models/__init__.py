"""Forecasters behind one contract, built by name so that a heavy library is imported only where it is used."""

from importlib import import_module
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.candidates import CandidateSettings
from pipeline.models.base import QUANTILES, Forecast, Forecaster, Progress

__all__ = ["FORECASTERS", "QUANTILES", "Forecast", "Forecaster", "Progress", "build", "load", "save"]

FORECASTERS = {
    "seasonal_naive": "pipeline.models.statistical.seasonal_naive:SeasonalNaive",
    "category_sarimax": "pipeline.models.statistical.category:CategorySarimax",
    "lightgbm": "pipeline.models.tabular.boosted:LightGBM",
    "lstm": "pipeline.models.neural.lstm:LSTM",
}
"""Each forecaster's name in a market's YAML and where its class lives."""

_SETTINGS: TypeAdapter[CandidateSettings] = TypeAdapter(CandidateSettings)


def build(settings: CandidateSettings, seed: int) -> Forecaster:
    """Return the unfitted forecaster that the settings name."""
    return _forecaster_class(settings.model)(settings, seed)


def save(forecaster: Forecaster, folder: Path) -> None:
    """Write a fitted forecaster with its settings and seed, so that `load` needs nothing but the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    forecaster.save(folder)
    (folder / "settings.json").write_text(forecaster.settings.model_dump_json(indent=1), encoding="utf-8")
    (folder / "seed.txt").write_text(str(forecaster.seed), encoding="utf-8")


def load(folder: Path) -> Forecaster:
    """Return the fitted forecaster that `save` wrote."""
    settings = _SETTINGS.validate_json((folder / "settings.json").read_text(encoding="utf-8"))
    seed = int((folder / "seed.txt").read_text(encoding="utf-8"))
    return _forecaster_class(settings.model).load(folder, settings, seed)


def _forecaster_class(name: str) -> type[Forecaster]:
    module, _, class_name = FORECASTERS[name].partition(":")
    return getattr(import_module(module), class_name)
