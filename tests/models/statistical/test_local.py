from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

LOCAL = ("moving_average", "ets", "theta", "arima", "intermittent")


@pytest.mark.parametrize("name", LOCAL)
def test_without_season_a_series_alone_has_the_mean_that_it_has_in_the_crowd(make_panel, make_forecaster, name):
    """The quantiles lean on all series' errors, the season factors on all series' week."""
    panel = make_panel(series=12, days=250)
    single = panel.take([7])
    crowd, alone = (
        make_forecaster(name, seasonal=False, **({"series": 0} if name == "arima" else {}))
        .fit(one)
        .predict(one, one.last_day, 14)
        for one in (panel, single)
    )
    np.testing.assert_array_equal(alone.mean[0], crowd.mean[7])


@pytest.mark.parametrize("name", LOCAL)
def test_quantiles_cover_what_they_say(make_panel, make_forecaster, name):
    panel = make_panel(series=80, days=240)
    origin = panel.last_day - timedelta(days=14)
    forecast = make_forecaster(name, **({"series": 0} if name == "arima" else {})).fit(panel.until(origin))
    found = forecast.predict(panel, origin, 14)
    actual = panel.y[:, -14:]
    below = (actual[..., None] < np.floor(found.quantiles)).mean(axis=(0, 1))
    at_most = (actual[..., None] <= np.ceil(found.quantiles)).mean(axis=(0, 1))
    levels = np.arange(1, 10) / 10
    assert (below - 0.04 < levels).all()
    assert (levels < at_most + 0.04).all()


@pytest.mark.parametrize("name", LOCAL)
def test_a_chunk_of_series_is_a_matter_of_speed(make_panel, make_forecaster, monkeypatch, name):
    panel = make_panel(series=11, days=90)

    def forecast():
        return make_forecaster(name).fit(panel).predict(panel, panel.last_day, 14)

    whole = forecast()
    monkeypatch.setattr("pipeline.models.statistical.local._SERIES_AT_ONCE", 4)
    np.testing.assert_allclose(forecast().quantiles, whole.quantiles, rtol=1e-6)


def test_a_launch_is_where_a_series_starts(make_panel, make_forecaster):
    panel = make_panel(series=6, days=200)
    observed = panel.observed.copy()
    observed[0, :120] = False
    launched = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    later = replace(make_panel(series=1, days=80), y=launched.y[:1, 120:])
    for name in LOCAL:
        long, short = (
            make_forecaster(name, seasonal=False, **({"series": 0} if name == "arima" else {})).fit(one)
            for one in (launched, later)
        )
        short._parameters = long._parameters[:1]
        np.testing.assert_allclose(
            short.predict(later, later.last_day, 14).mean[0],
            long.predict(launched, launched.last_day, 14).mean[0],
            rtol=1e-5,
        )


def test_new_days_move_the_level_and_leave_the_parameters(make_panel, make_forecaster):
    panel = make_panel(series=6, days=150)
    y = panel.y.copy()
    y[:, -20:] *= 10
    risen = replace(panel, y=y)
    origin = panel.last_day - timedelta(days=20)
    for name in LOCAL:
        fitted = make_forecaster(name).fit(risen.until(origin))
        before = fitted.predict(risen, origin, 7)
        parameters = fitted._parameters.copy()
        after = fitted.predict(risen, risen.last_day, 7)
        assert after.mean.mean() > before.mean.mean()
        np.testing.assert_array_equal(fitted._parameters, parameters)


def test_an_item_with_few_days_leans_on_its_group(make_panel, make_forecaster):
    panel = make_panel(series=20, days=200, static=1)
    y, observed = np.full((20, 200), 10, np.float32), panel.observed.copy()
    observed[0, :-2] = False
    y[0] = np.where(observed[0], 100, 0)
    static = np.zeros((20, 1), np.int32)
    young = replace(panel, y=y, observed=observed, static=static)
    mean = make_forecaster("ets", seasonal=False).fit(young).predict(young, young.last_day, 7).mean
    assert 10 < mean[0].mean() < 30
    np.testing.assert_allclose(mean[1:], 10, rtol=1e-5)
