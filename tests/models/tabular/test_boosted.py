from datetime import timedelta

import numpy as np
import pytest

from pipeline.models.tabular.boosted import _sampled_rows


def test_training_rows_have_observed_targets_within_the_horizon(make_panel):
    panel = make_panel(series=5, days=90)
    series, origin, lead = _sampled_rows(panel, 3000, seed=1)
    assert len(series) > 1500
    assert lead.min() == 1
    assert lead.max() == panel.horizon
    assert (origin + lead).max() == 89
    assert panel.observed[series, origin + lead].all()
    assert len({*zip(series, origin, lead, strict=True)}) == len(series)


def test_the_same_seed_draws_the_same_rows(make_panel):
    panel = make_panel(series=50, days=400)
    one, again, other = (_sampled_rows(panel, 500, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[1][:50], other[1][:50])


def test_trees_learn_week_and_promotions(make_panel, make_forecaster):
    panel = make_panel(series=30, days=200)
    origin = panel.last_day - timedelta(days=14)
    model = make_forecaster("lightgbm", trees=60, rows=20_000, learning_rate=0.1).fit(panel.until(origin))
    mean = model.predict(panel, origin, 14).mean
    promoted = panel.known[:, -28:-14].sum(axis=2) > 0
    assert mean[promoted].mean() > 1.4 * mean[~promoted].mean()
    assert mean.sum() == pytest.approx(panel.y[:, -14:].sum(), rel=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"trees": 5},
        {"leaves": 4},
        {"learning_rate": 0.3},
        {"rows": 1000},
        {"min_rows_in_leaf": 200},
        {"variance_power": 1.9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_has_an_effect(change, make_panel, make_forecaster):
    panel = make_panel(series=10, days=80)
    plain, changed = (
        make_forecaster("lightgbm", **settings).fit(panel).predict(panel, panel.last_day, 7).mean
        for settings in ({}, change)
    )
    assert not np.array_equal(plain, changed)


def test_threads_change_the_speed_alone(make_panel, make_forecaster):
    panel = make_panel(series=10, days=80)
    one, two = (
        make_forecaster("lightgbm", threads=threads).fit(panel).predict(panel, panel.last_day, 7).mean
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
