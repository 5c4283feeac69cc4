"""Forecasters behind one contract, built by name so that a heavy library is imported only where it is used."""

from importlib import import_module
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.candidates import CandidateSettings
from pipeline.models.base import QUANTILES, Forecast, Forecaster, Progress
from pipeline.models.calibrated import Calibrated
from pipeline.models.calibration import Calibration

__all__ = [
    "FORECASTERS",
    "QUANTILES",
    "Calibrated",
    "Calibration",
    "Forecast",
    "Forecaster",
    "Progress",
    "build",
    "load",
    "save",
]

FORECASTERS = {
    "seasonal_naive": "pipeline.models.statistical.seasonal_naive:SeasonalNaive",
    "moving_average": "pipeline.models.statistical.moving_average:MovingAverage",
    "ets": "pipeline.models.statistical.smoothing:Ets",
    "theta": "pipeline.models.statistical.smoothing:Theta",
    "arima": "pipeline.models.statistical.arima:Arima",
    "intermittent": "pipeline.models.statistical.intermittent:Intermittent",
    "category_sarimax": "pipeline.models.statistical.category:CategorySarimax",
    "lightgbm": "pipeline.models.tabular.boosted:LightGBM",
    "lightgbm_mean": "pipeline.models.tabular.boosted:LightGBMMean",
    "random_forest": "pipeline.models.tabular.boosted:RandomForest",
    "linear": "pipeline.models.tabular.scaled:Linear",
    "perceptron": "pipeline.models.tabular.perceptron:Perceptron",
    "svr": "pipeline.models.tabular.scaled:SVR",
    "lstm": "pipeline.models.neural.lstm:LSTM",
    "gru": "pipeline.models.neural.gru:GRU",
    "cnn_lstm": "pipeline.models.neural.cnn_lstm:CnnLSTM",
    "patch_transformer": "pipeline.models.neural.patch_transformer:PatchTransformer",
    "ensemble": "pipeline.models.ensemble:Ensemble",
}
"""Each forecaster's name in a market's YAML and where its class lives."""

_CALIBRATION_FILE = "calibration.json"
_SETTINGS: TypeAdapter[CandidateSettings] = TypeAdapter(CandidateSettings)


def build(settings: CandidateSettings, seed: int) -> Forecaster:
    """Return the unfitted forecaster that the settings name."""
    return _forecaster_class(settings.model)(settings, seed)


def save(forecaster: Forecaster, folder: Path) -> None:
    """Write a fitted forecaster with its settings, seed and calibration: `load` needs nothing but the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    forecaster.save(folder)
    if isinstance(forecaster, Calibrated):
        forecaster.calibration.save(folder / _CALIBRATION_FILE)
    (folder / "settings.json").write_text(forecaster.settings.model_dump_json(indent=1), encoding="utf-8")
    (folder / "seed.txt").write_text(str(forecaster.seed), encoding="utf-8")


def load(folder: Path) -> Forecaster:
    """Return the fitted forecaster that `save` wrote."""
    settings = _SETTINGS.validate_json((folder / "settings.json").read_text(encoding="utf-8"))
    seed = int((folder / "seed.txt").read_text(encoding="utf-8"))
    forecaster = _forecaster_class(settings.model).load(folder, settings, seed)
    file = folder / _CALIBRATION_FILE
    return Calibrated(forecaster, Calibration.load(file)) if file.exists() else forecaster


def _forecaster_class(name: str) -> type[Forecaster]:
    module, _, class_name = FORECASTERS[name].partition(":")
    return getattr(import_module(module), class_name)
