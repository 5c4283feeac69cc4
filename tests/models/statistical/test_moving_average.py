from dataclasses import replace

import numpy as np


def test_the_average_is_that_of_the_observed_periods_of_the_window(make_panel, make_forecaster):
    panel = make_panel(series=4, days=90)
    observed = panel.observed.copy()
    observed[0, -3] = False
    panel = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    forecaster = make_forecaster("moving_average", window=7, seasonal=False).fit(panel)
    mean = forecaster.predict(panel, panel.last_day, 14).mean
    expected = panel.y[:, -7:].sum(axis=1) / observed[:, -7:].sum(axis=1)
    np.testing.assert_allclose(mean, np.repeat(expected[:, None], 14, axis=1), rtol=1e-6)


def test_the_window_is_chosen_by_past_errors(make_panel, make_forecaster):
    panel = make_panel(series=8, days=200)
    step = np.where(np.arange(200) < 186, 3, 30) * np.ones((8, 1), np.float32)
    noise = np.random.default_rng(0).normal(20, 6, (8, 200))
    settings = {"seasonal": False}
    new_level = make_forecaster("moving_average", **settings).fit(replace(panel, y=step.astype(np.float32)))
    assert (new_level._parameters == 7).all()
    steady = make_forecaster("moving_average", **settings).fit(replace(panel, y=noise.astype(np.float32)))
    assert np.median(steady._parameters) >= 56


def test_weekdays_keep_their_share_unless_the_settings_say_no(make_panel, make_forecaster):
    panel = make_panel(series=20, days=200)
    weekend = np.arange(200, 214) % 7 >= 5
    forecasts = {
        seasonal: make_forecaster("moving_average", seasonal=seasonal).fit(panel).predict(panel, panel.last_day, 14)
        for seasonal in (True, False)
    }
    week = forecasts[True].mean.mean(axis=0)
    assert 1.35 < week[weekend].mean() / week[~weekend].mean() < 1.65
    np.testing.assert_allclose(np.ptp(forecasts[False].mean, axis=1), 0, atol=1e-4)
