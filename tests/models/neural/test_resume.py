"""A fit that is killed goes on from its checkpoint to the same weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import models

SETTINGS = {"epochs": 4, "patience": 4, "dropout": 0.2}

KILLED_FIT = """
import os, signal, sys
from pathlib import Path
from pipeline import models
from pipeline.preprocess.panel import Panel
folder, killed_after = Path(sys.argv[1]), int(sys.argv[2])
def progress(step, steps, metrics):
    if step == killed_after:
        os.kill(os.getpid(), signal.SIGKILL)
unfitted = models.load(folder / "model")
forecaster = models.build(unfitted.settings, unfitted.seed)
forecaster.checkpoints = folder / "checkpoints"
forecaster.fit(Panel.load(folder / "panel"), progress=progress)
"""


def weights_and_curve(forecaster, panel, checkpoints: Path | None = None):
    """Return the weights that the forecaster ends with, and what it told on its way."""
    told = []
    forecaster.checkpoints = checkpoints
    forecaster.fit(panel, progress=lambda step, steps, found: told.append((step, steps, found)))
    return forecaster._network.get_weights(), told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "killed_after"),
    [("lstm", {}, 2), ("patch_transformer", {"pretraining_epochs": 3}, 1), ("patch_transformer", {}, 3)],
    ids=["forecasting", "filling in", "forecasting after filling in"],
)
def test_a_killed_fit_goes_on_to_the_same_result(name, changes, killed_after, make_panel, make_forecaster, tmp_path):
    panel = make_panel(series=8, days=80)
    forecaster = make_forecaster(name, **SETTINGS, **changes)
    whole, told = weights_and_curve(forecaster, panel)
    panel.save(tmp_path / "panel")
    models.save(forecaster, tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", KILLED_FIT, str(tmp_path), str(killed_after)], check=False)
    assert done.returncode == -9
    written = {file.name: file.read_bytes() for file in (tmp_path / "checkpoints").iterdir()}
    assert written
    resumed, told_again = weights_and_curve(
        make_forecaster(name, **SETTINGS, **changes), panel, tmp_path / "checkpoints"
    )
    assert told_again == told
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_resumed_fit_learns_only_what_is_missing(make_panel, make_forecaster, tmp_path):
    """The standing is changed by hand: if the fit goes on from it, the result changes with it."""
    panel = make_panel(series=4, days=60)
    whole, _ = weights_and_curve(make_forecaster("gru", closing_steps=0), panel, tmp_path)
    (file,) = tmp_path.iterdir()
    with np.load(file) as content:
        arrays = {name: content[name] for name in content.files}
    arrays = {name: values + 1 if values.dtype == np.float32 else values for name, values in arrays.items()}
    np.savez(file, **arrays)
    resumed, _ = weights_and_curve(make_forecaster("gru", closing_steps=0), panel, tmp_path)
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(other, one + 1, rtol=1e-5)


@pytest.mark.slow
def test_a_checkpoint_of_another_fit_is_left_alone(make_panel, make_forecaster, tmp_path):
    panel = make_panel(series=4, days=60)
    weights_and_curve(make_forecaster("gru", seed=1), panel, tmp_path)
    mixed, _ = weights_and_curve(make_forecaster("gru", seed=2), panel, tmp_path)
    alone, _ = weights_and_curve(make_forecaster("gru", seed=2), panel)
    for one, other in zip(mixed, alone, strict=True):
        np.testing.assert_array_equal(one, other)
