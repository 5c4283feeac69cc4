from datetime import timedelta

import numpy as np
import pytest

from pipeline.evaluate.metrics import weighted_quantile_loss
from pipeline.models import QUANTILES
from pipeline.models.tabular.rows import sampled_rows


def test_training_rows_have_observed_targets_within_the_horizon(make_panel):
    panel = make_panel(series=5, days=90)
    series, origin, lead = sampled_rows(panel, 3000, seed=1)
    assert len(series) > 1500
    assert lead.min() == 1
    assert lead.max() == panel.horizon
    assert (origin + lead).max() == 89
    assert panel.observed[series, origin + lead].all()
    assert len({*zip(series, origin, lead, strict=True)}) == len(series)


def test_the_same_seed_draws_the_same_rows(make_panel):
    panel = make_panel(series=50, days=400)
    one, again, other = (sampled_rows(panel, 500, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[1][:50], other[1][:50])


CHANGES = (
    ("lightgbm", {"trees": 8}),
    ("lightgbm", {"leaves": 4}),
    ("lightgbm", {"learning_rate": 0.3}),
    ("lightgbm", {"rows": 1000}),
    ("lightgbm", {"min_rows_in_leaf": 200}),
    ("lightgbm", {"feature_share": 1.0}),
    ("lightgbm_mean", {"variance_power": 1.9}),
    ("lightgbm_mean", {"objective": "poisson"}),
    ("linear", {"penalty": 10.0}),
    ("svr", {"landmarks": 5}),
    ("svr", {"width": 5.0}),
    ("svr", {"regularisation": 0.01}),
    ("svr", {"tube": 0.5}),
)


@pytest.mark.parametrize(
    ("name", "change"), CHANGES, ids=lambda part: part if isinstance(part, str) else next(iter(part))
)
def test_every_setting_has_an_effect(name, change, make_panel, make_forecaster):
    panel = make_panel(series=10, days=80)
    plain, changed = (
        make_forecaster(name, **settings).fit(panel).predict(panel, panel.last_day, 7).mean for settings in ({}, change)
    )
    assert not np.array_equal(plain, changed)


def test_threads_change_the_speed_alone(make_panel, make_forecaster):
    panel = make_panel(series=10, days=80)
    one, two = (
        make_forecaster("lightgbm_mean", threads=threads).fit(panel).predict(panel, panel.last_day, 7).mean
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["lightgbm", "lightgbm_mean", "random_forest", "linear", "svr", "perceptron"])
def test_every_model_learns_the_week_and_the_promotions(name, make_panel, make_forecaster):
    panel = make_panel(series=30, days=200)
    origin = panel.last_day - timedelta(days=14)
    changes = {"trees": 40, "learning_rate": 0.1} if name.startswith("lightgbm") else {}
    if name == "perceptron":
        changes = {"epochs": 12, "batch_size": 256, "width": 32}
    model = make_forecaster(name, rows=8_000, **changes).fit(panel.until(origin))
    forecast = model.predict(panel, origin, 14)
    promoted = panel.known[:, -28:-14].sum(axis=2) > 0
    assert forecast.mean[promoted].mean() > 1.25 * forecast.mean[~promoted].mean()
    assert forecast.mean.sum() == pytest.approx(panel.y[:, -14:].sum(), rel=0.15)
    naive = make_forecaster("seasonal_naive").fit(panel.until(origin)).predict(panel, origin, 14)
    losses = [
        weighted_quantile_loss(panel.y[:, -14:].reshape(-1), one.quantiles.reshape(-1, 9), QUANTILES)
        for one in (forecast, naive)
    ]
    assert losses[0] < 0.9 * losses[1]
