from dataclasses import replace

import numpy as np
import pytest
from statsmodels.tsa.forecasting.theta import ThetaModel
from statsmodels.tsa.holtwinters import Holt

from pipeline.models.statistical.history import History
from pipeline.models.statistical.season import SeasonFactors


@pytest.fixture(scope="module")
def series(make_panel):
    """One series of days without season factors, and its values."""
    panel = make_panel(series=1, days=90, seed=3)
    return panel, panel.y[0].astype(float)


def _levels_ahead(forecaster, panel, parameters, origins, leads):
    history = History.of(panel, slice(0, len(panel.unique_id)), SeasonFactors.flat(panel), 0)
    given = np.repeat(np.array(parameters)[:, None], len(panel.unique_id), axis=1)
    return forecaster._levels_ahead(history, given, np.array(origins), np.array(leads))


@pytest.mark.parametrize(("alpha", "beta", "damping"), [(0.3, 0.0, 1.0), (0.2, 0.1, 0.9)])
def test_smoothing_agrees_with_statsmodels(series, make_forecaster, alpha, beta, damping):
    panel, y = series
    for origin in (40, 89):
        ours = _levels_ahead(make_forecaster("ets"), panel, (alpha, beta, damping), [origin], [1, 3, 14])[0, :, 0]
        holt = Holt(
            y[: origin + 1],
            damped_trend=True,
            initialization_method="known",
            initial_level=y[:10].mean(),
            initial_trend=0.0,
        ).fit(smoothing_level=alpha, smoothing_trend=beta, damping_trend=damping, optimized=False)
        np.testing.assert_allclose(ours, holt.forecast(14)[[0, 2, 13]], rtol=1e-9)


def test_theta_has_the_drift_of_statsmodels(series, make_forecaster):
    panel, y = series
    theirs = ThetaModel(y, deseasonalize=False).fit()
    alpha, leads = theirs.params["alpha"], np.arange(1, 15)
    with_slope, without = (
        _levels_ahead(make_forecaster("theta"), panel, (alpha, theta), [89], leads)[0, :, 0] for theta in (2.0, 1.0)
    )
    drift = theirs.forecast_components(14)["trend"].to_numpy()
    np.testing.assert_allclose(with_slope - without, drift / 2, rtol=1e-6)


def test_unobserved_periods_leave_the_level_as_it_is(make_panel, make_forecaster):
    panel = make_panel(series=3, days=60)
    observed = panel.observed.copy()
    observed[:, -5:] = False
    gone = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    for name, parameters in (("ets", (0.3, 0.0, 1.0)), ("theta", (0.3, 1.0)), ("moving_average", (60.0,))):
        forecaster = make_forecaster(name)
        before = _levels_ahead(forecaster, panel, parameters, [54], [1])
        np.testing.assert_allclose(_levels_ahead(forecaster, gone, parameters, [59], [1]), before)


def test_a_damped_trend_is_followed_if_the_settings_allow(make_panel, make_forecaster):
    panel = make_panel(series=5, days=120, seed=1)
    rising = replace(panel, y=np.round(np.linspace(5, 60, 120) * np.ones((5, 1))).astype(np.float32))
    followed, flat = (
        make_forecaster("ets", trend=trend).fit(rising).predict(rising, rising.last_day, 14).mean
        for trend in (True, False)
    )
    assert followed[:, -1].mean() > flat[:, -1].mean() + 1
    theta = make_forecaster("theta").fit(rising).predict(rising, rising.last_day, 14).mean
    assert theta[:, -1].mean() > theta[:, 0].mean() + 1
