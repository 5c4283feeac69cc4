"""What every network does; each member's forecasts keep the contract in `tests/models/test_contract.py`."""

import numpy as np
import pytest

from pipeline.candidates import NEURAL

NETWORKS = sorted(NEURAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_week_and_promotions(name, make_panel, make_forecaster):
    panel = make_panel(series=40, days=200, shared=7)
    settings = {"units": 16, "epochs": 5, "steps_per_epoch": 40, "closing_steps": 20, "batch_size": 64}
    model = make_forecaster(name, **settings, learning_rate=0.01).fit(panel)
    mean = model.predict(panel, panel.last_day, 14).mean
    promoted = panel.known[:, -14:].sum(axis=2) > 0
    assert mean[promoted].mean() > 1.3 * mean[~promoted].mean()
    assert mean.mean() == pytest.approx(panel.y.mean(), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_warm_start_begins_where_the_teacher_ended_and_learns_for_few_epochs(name, make_panel, make_forecaster):
    panel = make_panel(series=6, days=90)
    settings = {"epochs": 4, "steps_per_epoch": 10, "fine_tune_epochs": 2}
    curves: dict[str, list[float]] = {"cold": [], "warm": []}
    teacher = None
    for kind, curve in curves.items():

        def note(_step, _steps, found, curve=curve):
            curve += [found["val_loss"]] if "val_loss" in found else []

        teacher = make_forecaster(name, **settings).fit(panel, warm_start=teacher, progress=note)
        assert len(curve) == settings["epochs" if kind == "cold" else "fine_tune_epochs"]
    assert curves["warm"][0] < curves["cold"][0]


@pytest.mark.slow
def test_a_teacher_of_other_settings_is_not_followed(make_panel, make_forecaster):
    panel = make_panel(series=4, days=60)
    teacher = make_forecaster("gru", units=5).fit(panel)
    cold, warm = (make_forecaster("gru").fit(panel, warm_start=start) for start in (None, teacher))
    for one, other in zip(cold._network.get_weights(), warm._network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_network_refuses_other_covariates(make_panel, make_forecaster):
    model = make_forecaster("gru").fit(make_panel(series=3, days=40))
    other = make_panel(series=3, days=40, known=1)
    with pytest.raises(ValueError, match="was fitted with the covariates"):
        model.predict(other, other.last_day, 7)


COMMON = {
    "units": 6,
    "context_periods": 21,
    "periods_per_step": 2,
    "epochs": 2,
    "steps_per_epoch": 2,
    "closing_steps": 0,
    "batch_size": 8,
    "learning_rate": 0.02,
    "weight_decay": 0.1,
    "dropout": 0.5,
    "averaging": 0.0,
    "jitter": 0.3,
    "scaling": 0.3,
    "warping": 0.9,
    "masking": 0.5,
    "adversarial": 0.5,
}
OWN = {
    "lstm": {"layers": 1},
    "gru": {"layers": 2},
    "cnn_lstm": {"kernel_periods": 3},
    "patch_transformer": {"layers": 2, "heads": 3, "pretraining_epochs": 0, "hidden_share": 0.8},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [("gru", {key: value}) for key, value in COMMON.items()]
    + [(name, {key: value}) for name, changes in OWN.items() for key, value in changes.items()],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_every_setting_has_an_effect(name, change, make_panel, make_forecaster):
    panel = make_panel(series=8, days=60)
    plain, changed = (
        make_forecaster(name, **settings).fit(panel).predict(panel, panel.last_day, 7).mean for settings in ({}, change)
    )
    assert not np.array_equal(plain, changed)


@pytest.mark.slow
def test_patience_ends_learning_that_helps_no_more(make_panel, make_forecaster):
    panel = make_panel(series=4, days=60)
    epochs = {1: 0, 30: 0}
    for patience in epochs:

        def count(step, _steps, _found, patience=patience):
            epochs[patience] = step

        make_forecaster("gru", epochs=30, patience=patience, learning_rate=0.5).fit(panel, progress=count)
    assert epochs[1] < epochs[30] == 30


@pytest.mark.slow
def test_filling_in_is_learnt_before_forecasting(make_panel, make_forecaster):
    panel = make_panel(series=20, days=150)
    told: list[tuple[int, int, set[str]]] = []
    losses: list[float] = []

    def note(step, steps, found):
        told.append((step, steps, set(found)))
        losses.extend(value for name, value in found.items() if name == "filling_val_loss")

    make_forecaster("patch_transformer", units=8, pretraining_epochs=3, steps_per_epoch=20).fit(panel, progress=note)
    filling, forecasting = {"filling_loss", "filling_val_loss"}, {"loss", "val_loss"}
    assert told == [(1, 4, filling), (2, 4, filling), (3, 4, filling), (4, 4, forecasting)]
    assert losses[-1] < losses[0]
