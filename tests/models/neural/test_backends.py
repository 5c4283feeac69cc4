"""The same networks on TensorFlow and JAX, on several devices, and with 16-bit multiplication."""

import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from pipeline import models
from pipeline.candidates import NEURAL
from pipeline.models import QUANTILES

SETTINGS = {
    "units": 8,
    "context_periods": 28,
    "epochs": 3,
    "steps_per_epoch": 25,
    "batch_size": 63,
    "learning_rate": 0.02,
}

FIT = """
import sys
from datetime import timedelta
from pathlib import Path
import keras
import numpy as np
from pydantic import TypeAdapter
from pipeline import models
from pipeline.candidates import CandidateSettings
from pipeline.models.neural import runtime
from pipeline.preprocess.panel import Panel
folder, devices, policy, settings = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], eval(sys.argv[4])
if devices > 1 and keras.config.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
runtime.configure()
keras.config.set_dtype_policy(policy)
assert runtime.replicas() == devices
panel = Panel.load(folder / "panel")
origin = panel.last_day - timedelta(days=panel.horizon)
for name in sys.argv[5:]:
    forecaster = models.build(TypeAdapter(CandidateSettings).validate_python({"model": name} | settings), 7)
    forecaster.fit(panel.until(origin))
    forecast = forecaster.predict(panel, origin, panel.horizon)
    assert forecast.quantiles.dtype == np.float32
    np.save(folder / f"{name}.npy", forecast.quantiles)
    models.save(forecaster, folder / name)
"""


@pytest.fixture(scope="module")
def panel(make_panel):
    return make_panel(series=20, days=150, shared=7)


@pytest.fixture
def fit_elsewhere(panel, tmp_path):
    """Return a function that fits in a process of its own and returns the quantiles by the network's name."""
    panel.save(tmp_path / "panel")

    def fit(*names, backend="tensorflow", devices=1, policy="float32"):
        flags = f"--xla_force_host_platform_device_count={devices}" if backend == "jax" else ""
        done = subprocess.run(
            [sys.executable, "-c", FIT, str(tmp_path), str(devices), policy, repr(SETTINGS), *names],
            env=os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": flags},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return {name: np.load(tmp_path / f"{name}.npy") for name in names}

    return fit


@pytest.fixture(scope="module")
def fit_here(panel, make_forecaster):
    """Return a function that fits by TensorFlow in this process and returns the quantiles."""

    def fit(name):
        origin = panel.last_day - timedelta(days=panel.horizon)
        return (
            make_forecaster(name, **SETTINGS).fit(panel.until(origin)).predict(panel, origin, panel.horizon).quantiles
        )

    return fit


def pinball(panel, quantiles):
    error = panel.y[:, -panel.horizon :, None] - quantiles
    return np.maximum(np.array(QUANTILES) * error, (np.array(QUANTILES) - 1) * error).mean()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jax_forecasts_as_well_as_tensorflow(panel, fit_elsewhere, fit_here):
    for name, quantiles in fit_elsewhere(*sorted(NEURAL), backend="jax").items():
        assert np.isfinite(quantiles).all()
        assert pinball(panel, quantiles) == pytest.approx(pinball(panel, fit_here(name)), rel=0.1)


@pytest.mark.slow
def test_a_network_of_one_back_end_forecasts_on_the_other(panel, fit_elsewhere, tmp_path):
    there = fit_elsewhere("gru", backend="jax")["gru"]
    origin = panel.last_day - timedelta(days=panel.horizon)
    here = models.load(tmp_path / "gru").predict(panel, origin, panel.horizon).quantiles
    np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_devices_share_each_batch(backend, panel, fit_elsewhere, fit_here):
    shared = fit_elsewhere("gru", backend=backend, devices=2)["gru"]
    assert pinball(panel, shared) == pytest.approx(pinball(panel, fit_here("gru")), rel=0.1)


@pytest.mark.slow
def test_16_bit_multiplication_is_good_enough(panel, fit_elsewhere, fit_here):
    half = fit_elsewhere("patch_transformer", policy="mixed_bfloat16")["patch_transformer"]
    assert pinball(panel, half) == pytest.approx(pinball(panel, fit_here("patch_transformer")), rel=0.1)
