"""Small panels with all that can befall a series, and forecasters small enough to be fitted in a test."""

from collections.abc import Callable
from datetime import date
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import TypeAdapter

from pipeline import models
from pipeline.candidates import CandidateSettings
from pipeline.models import Forecaster
from pipeline.preprocess.panel import NEVER, Panel

START = date(2022, 1, 3)
HORIZON = 14
_SMALL_NETWORK = {
    "units": 4,
    "context_periods": 14,
    "epochs": 1,
    "steps_per_epoch": 3,
    "closing_steps": 1,
    "batch_size": 16,
}
SMALL: dict[str, dict[str, Any]] = {
    "seasonal_naive": {},
    "moving_average": {},
    "ets": {},
    "theta": {},
    "arima": {"series": 1, "periods": 30},
    "intermittent": {},
    "category_sarimax": {},
    "lightgbm": {"trees": 5, "rows": 4000, "min_rows_in_leaf": 10},
    "lightgbm_mean": {"trees": 10, "rows": 4000, "min_rows_in_leaf": 10},
    "random_forest": {"trees": 5, "rows": 4000, "min_rows_in_leaf": 10},
    "linear": {"rows": 4000},
    "perceptron": {"rows": 1000, "epochs": 1, "width": 8, "batch_size": 128},
    "svr": {"rows": 1000, "landmarks": 20},
    "ensemble": {
        "members": {
            "naive": {"model": "seasonal_naive"},
            "trees": {"model": "lightgbm", "trees": 5, "rows": 2000, "min_rows_in_leaf": 10},
        }
    },
    "lstm": _SMALL_NETWORK,
    "gru": _SMALL_NETWORK,
    "cnn_lstm": _SMALL_NETWORK,
    "patch_transformer": _SMALL_NETWORK | {"heads": 2, "layers": 1, "pretraining_epochs": 1},
}
"""Settings that make each forecaster quick."""


@pytest.fixture(scope="session")
def make_forecaster() -> Callable[..., Forecaster]:
    """Return a function that builds a small unfitted forecaster by name."""

    def make(name: str, seed: int = 7, **changes: Any) -> Forecaster:
        settings = {"model": name} | SMALL.get(name, {}) | changes
        return models.build(TypeAdapter(CandidateSettings).validate_python(settings), seed)

    return make


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Panel]:
    """Return a function that draws a panel of counts with a rhythm of seven and promotions; `days` are its periods."""
    return _panel


def _panel(
    series: int = 12,
    days: int = 120,
    *,
    seed: int = 0,
    past: int = 2,
    known: int = 2,
    shared: int = 3,
    static: int = 2,
    frequency: Literal["D", "W"] = "D",
) -> Panel:
    rng = np.random.default_rng(seed)
    reach = days + HORIZON
    weekday = np.arange(reach) % 7
    level = rng.gamma(2.0, 2.0, series)[:, None]
    covariates = (rng.random((series, reach, known)) < 0.2).astype(np.float32)
    lift = 1 + covariates.sum(axis=2)
    mean = level * (1 + 0.5 * (weekday >= 5)) * lift
    sizes = [2 * (position + 1) for position in range(static)]
    return Panel(
        unique_id=np.array([f"item-{position:03d}" for position in range(series)]),
        start=START,
        y=rng.poisson(mean[:, :days]).astype(np.float32),
        observed=np.ones((series, days), bool),
        at_least=np.zeros((series, days), np.float32),
        available=np.ones((series, days), np.float32),
        ends=np.full(series, NEVER, np.int32),
        past=rng.normal(size=(series, days, past)).astype(np.float32),
        past_names=tuple(f"past_{position}" for position in range(past)),
        known=covariates,
        known_names=tuple(f"known_{position}" for position in range(known)),
        shared=np.stack([weekday == position for position in range(shared)], axis=1).astype(np.float32)
        if shared
        else np.zeros((reach, 0), np.float32),
        shared_names=tuple(f"shared_{position}" for position in range(shared)),
        static=np.stack([rng.integers(size, size=series) for size in sizes], axis=1).astype(np.int32)
        if static
        else np.zeros((series, 0), np.int32),
        static_names=tuple(f"static_{position}" for position in range(static)),
        static_levels=tuple(tuple(f"label-{code}" for code in range(size)) for size in sizes),
        traits=rng.normal(size=(series, 2)).astype(np.float32),
        trait_names=("trait_0", "trait_1"),
        horizon=HORIZON,
        frequency=frequency,
    )
