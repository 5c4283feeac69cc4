from dataclasses import replace
from datetime import timedelta

import numpy as np

from pipeline.models import QUANTILES


def test_the_naive_repeats_the_last_observed_season(make_panel, make_forecaster):
    panel = make_panel(series=4, days=90)
    observed = panel.observed.copy()
    observed[0, -3] = False
    panel = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    mean = make_forecaster("seasonal_naive").fit(panel).predict(panel, panel.last_day, 14).mean
    expected = np.tile(panel.y[:, -7:], 2)
    expected[0, [4, 11]] = panel.y[0, -10]
    np.testing.assert_array_equal(mean, expected)


def test_the_naive_quantiles_are_those_of_its_past_errors(make_panel, make_forecaster):
    panel = make_panel(series=3, days=119)
    forecast = make_forecaster("seasonal_naive").fit(panel).predict(panel, panel.last_day, 14)
    y = panel.y.astype(float)
    for lead, lag in ((2, 7), (9, 14)):
        errors = np.quantile(y[:, lag:] - y[:, :-lag], QUANTILES, axis=1).T
        expected = np.maximum(y[:, [lead % 7 - 7]] + errors, 0)
        np.testing.assert_allclose(forecast.quantiles[:, lead], expected, rtol=1e-6)


def test_the_season_is_a_setting(make_panel, make_forecaster):
    panel = make_panel(series=2, days=60)
    mean = make_forecaster("seasonal_naive", season_periods=5).fit(panel).predict(panel, panel.last_day, 5).mean
    np.testing.assert_array_equal(mean, panel.y[:, -5:])


def test_the_naive_covers_what_it_says(make_panel, make_forecaster):
    panel = make_panel(series=80, days=240)
    origin = panel.last_day - timedelta(days=14)
    forecast = make_forecaster("seasonal_naive").fit(panel.until(origin)).predict(panel, origin, 14)
    actual = panel.y[:, -14:]
    inside = (forecast.quantiles[..., 0] <= actual) & (actual <= forecast.quantiles[..., -1])
    assert 0.75 < inside.mean() < 0.95


def test_weeks_repeat_after_a_year(make_panel, make_forecaster):
    panel = make_panel(series=3, days=110, frequency="W")
    mean = make_forecaster("seasonal_naive").fit(panel).predict(panel, panel.last_day, 14).mean
    np.testing.assert_array_equal(mean, panel.y[:, -52:-38])


def test_a_history_shorter_than_a_season_repeats_its_last_period(make_panel, make_forecaster):
    panel = make_panel(series=3, days=30, frequency="W")
    mean = make_forecaster("seasonal_naive").fit(panel).predict(panel, panel.last_day, 14).mean
    np.testing.assert_array_equal(mean, np.repeat(panel.y[:, -1:], 14, axis=1))
