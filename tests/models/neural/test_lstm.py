import numpy as np
import pytest


@pytest.mark.slow
def test_a_warm_start_begins_where_the_teacher_ended(make_panel, make_forecaster):
    panel = make_panel(series=6, days=90)
    teacher = make_forecaster("lstm", epochs=3, steps_per_epoch=10).fit(panel)
    curves: dict[str, list[float]] = {"cold": [], "warm": []}
    for kind, start in (("cold", None), ("warm", teacher)):
        make_forecaster("lstm").fit(
            panel, warm_start=start, progress=lambda _step, _steps, found, kind=kind: curves[kind].append(found["loss"])
        )
    assert curves["warm"][0] < curves["cold"][0]


@pytest.mark.slow
def test_a_network_refuses_other_covariates(make_panel, make_forecaster):
    model = make_forecaster("lstm").fit(make_panel(series=3, days=40))
    other = make_panel(series=3, days=40, known=1)
    with pytest.raises(ValueError, match="was fitted with the covariates"):
        model.predict(other, other.last_day, 7)


@pytest.mark.slow
def test_a_network_learns_week_and_promotions(make_panel, make_forecaster):
    panel = make_panel(series=40, days=200, shared=7)
    model = make_forecaster(
        "lstm", units=16, epochs=5, steps_per_epoch=40, closing_steps=20, batch_size=64, learning_rate=0.01
    ).fit(panel)
    mean = model.predict(panel, panel.last_day, 14).mean
    promoted = panel.known[:, -14:].sum(axis=2) > 0
    assert mean[promoted].mean() > 1.3 * mean[~promoted].mean()
    assert mean.mean() == pytest.approx(panel.y.mean(), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"units": 5},
        {"context_periods": 21},
        {"periods_per_step": 2},
        {"epochs": 2},
        {"steps_per_epoch": 2},
        {"closing_steps": 0},
        {"batch_size": 8},
        {"learning_rate": 0.02},
        {"dropout": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_has_an_effect(change, make_panel, make_forecaster):
    panel = make_panel(series=8, days=60)
    plain, changed = (
        make_forecaster("lstm", **settings).fit(panel).predict(panel, panel.last_day, 7).mean
        for settings in ({}, change)
    )
    assert not np.array_equal(plain, changed)


@pytest.mark.slow
def test_patience_ends_learning_that_helps_no_more(make_panel, make_forecaster):
    panel = make_panel(series=4, days=60)
    epochs = {1: 0, 30: 0}
    for patience in epochs:

        def count(step, _steps, _found, patience=patience):
            epochs[patience] = step

        make_forecaster("lstm", epochs=30, patience=patience, learning_rate=0.5).fit(panel, progress=count)
    assert epochs[1] < epochs[30] == 30
