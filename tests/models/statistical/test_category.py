from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest


@pytest.fixture(scope="module")
def panel(make_panel):
    return make_panel(series=30, days=200, shared=7, static=1)


def test_items_add_up_to_their_group_and_follow_week_and_promotions(panel, make_forecaster):
    origin = panel.last_day - timedelta(days=14)
    mean = make_forecaster("category_sarimax").fit(panel.until(origin)).predict(panel, origin, 14).mean
    actual = panel.y[:, -14:]
    assert mean.sum() == pytest.approx(actual.sum(), rel=0.1)
    promoted = panel.known[:, -28:-14].sum(axis=2) > 0
    lift = mean[promoted].mean() / mean[~promoted].mean()
    assert 1.3 < lift < 3
    weekend = np.arange(200 - 14, 200) % 7 >= 5
    assert mean[:, weekend].mean() > 1.2 * mean[:, ~weekend].mean()


@pytest.fixture(scope="module")
def elastic(make_panel):
    """Items that sell half as much again for each tenth that their price falls."""
    panel = make_panel(series=20, days=200, known=1, static=1)
    rng = np.random.default_rng(0)
    price = np.repeat(rng.uniform(-0.3, 0.1, (1, 22)), 10, axis=1).astype(np.float32)
    price = np.repeat(price[:, :214], 20, axis=0)
    demand = 12 * np.exp(-4 * price[:, :200])
    return replace(panel, y=rng.poisson(demand).astype(np.float32)), price[..., None]


def test_a_planned_price_moves_the_forecast(elastic, make_forecaster):
    panel, price = elastic
    cut, dear = price.copy(), price.copy()
    cut[:, 200:], dear[:, 200:] = -0.3, 0.1
    planned = replace(panel, known=price, known_names=("price_ratio",))
    fitted = make_forecaster("category_sarimax").fit(planned)
    cheap, high = (
        fitted.predict(replace(planned, known=ahead), panel.last_day, 14).mean.sum() for ahead in (cut, dear)
    )
    assert 3 < cheap / high < 8


def test_a_price_that_is_not_planned_is_carried_on(elastic, make_forecaster):
    panel, price = elastic
    history = price[:, :200].copy()
    history[:, -1] = -0.3
    told = replace(panel, past=history, past_names=("price_ratio",))
    mean = make_forecaster("category_sarimax").fit(told).predict(told, panel.last_day, 14).mean
    blind = replace(panel, past=history, past_names=("other",))
    unaware = make_forecaster("category_sarimax").fit(blind).predict(blind, panel.last_day, 14).mean
    expected = 20 * 14 * 12 * np.exp(-4 * -0.3)
    assert mean.sum() == pytest.approx(expected, rel=0.25)
    assert unaware.sum() < 0.75 * expected


def test_groups_are_those_of_the_level(panel, make_panel, make_forecaster):
    two = make_panel(series=12, days=100, static=2)
    first = make_forecaster("category_sarimax").fit(two).predict(two, two.last_day, 7)
    named = make_forecaster("category_sarimax", level="static_0").fit(two).predict(two, two.last_day, 7)
    other = make_forecaster("category_sarimax", level="static_1").fit(two).predict(two, two.last_day, 7)
    np.testing.assert_array_equal(first.quantiles, named.quantiles)
    assert not np.array_equal(first.mean, other.mean)


def test_shares_follow_the_recent_days_that_the_settings_say(panel, make_forecaster):
    y = panel.y.copy()
    y[0, -14:] *= 4
    risen = replace(panel, y=y)
    short, long = (
        make_forecaster("category_sarimax", share_periods=periods)
        .fit(risen)
        .predict(risen, risen.last_day, 7)
        .mean[0]
        .mean()
        for periods in (14, 112)
    )
    assert short > 1.5 * long


def test_no_convergence_leaves_a_forecast(panel, make_forecaster, monkeypatch):
    def fail(*_args, **_kwargs):
        raise np.linalg.LinAlgError

    monkeypatch.setattr("pipeline.models.statistical.category.SARIMAX.fit", fail)
    forecast = make_forecaster("category_sarimax").fit(panel).predict(panel, panel.last_day, 14)
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.mean.sum() == pytest.approx(panel.y[:, -56:].mean() * 14 * 30, rel=0.2)
