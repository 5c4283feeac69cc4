from dataclasses import replace

import numpy as np
import pytest
from statsforecast.arima import auto_arima_f
from statsmodels.tsa.statespace.sarimax import SARIMAX

from pipeline.models.statistical import arima
from pipeline.models.statistical.history import History
from pipeline.models.statistical.season import SeasonFactors


@pytest.fixture(scope="module")
def wave(make_panel):
    """Two series that swing about 40 as an AR(2) does, and one that sells little."""
    panel = make_panel(series=3, days=200)
    rng = np.random.default_rng(2)
    y = np.zeros((3, 200))
    for period in range(2, 200):
        y[:, period] = 1.5 * y[:, period - 1] - 0.8 * y[:, period - 2] + rng.normal(size=3)
    y = y * np.array([[3.0], [3.0], [0.1]]) + np.array([[40.0], [30.0], [1.0]])
    return replace(panel, y=np.maximum(y, 0).astype(np.float32))


def _ahead(forecaster, panel, parameters, leads):
    history = History.of(panel, slice(0, len(panel.unique_id)), SeasonFactors.flat(panel), 0)
    given = np.repeat(np.array(parameters)[:, None], len(panel.unique_id), axis=1)
    return forecaster._levels_ahead(history, given, np.array([panel.y.shape[1] - 1]), np.array(leads))[0].T


@pytest.mark.parametrize(
    ("differenced", "constant", "ar", "ma"),
    [(0, 40.0, (1.2, -0.5), (0.3,)), (1, 0.2, (0.4,), (-0.3, 0.1))],
)
def test_the_recursion_agrees_with_statsmodels(wave, make_forecaster, differenced, constant, ar, ma):
    pad = lambda values: (*values, 0.0, 0.0)[:2]  # noqa: E731
    ours = _ahead(make_forecaster("arima"), wave, (differenced, constant, *pad(ar), *pad(ma)), [1, 2, 7, 14])[0]
    y = wave.y[0].astype(float)
    trend = constant * (np.arange(200) if differenced else np.ones(200))
    model = SARIMAX(y - trend, order=(len(ar), differenced, len(ma)))
    ahead = model.filter([*ar, *ma, 1.0]).forecast(14)
    expected = ahead + (constant * np.arange(200, 214) if differenced else constant)
    np.testing.assert_allclose(ours, expected[[0, 1, 6, 13]], rtol=1e-3)


def test_only_the_series_that_sell_most_are_searched_and_gain_by_it(wave, make_forecaster):
    own = make_forecaster("arima", series=2, periods=200, seasonal=False).fit(wave)
    none = make_forecaster("arima", series=0, seasonal=False).fit(wave)
    searched = own._parameters[:, 2] != 0
    assert searched.tolist() == [True, True, False]
    np.testing.assert_array_equal(own._parameters[2], none._parameters[2])
    wide, narrow = (np.ptp(model.predict(wave, wave.last_day, 1).quantiles[:2, 0], axis=1) for model in (none, own))
    assert (narrow < 0.7 * wide).all()


def test_a_search_that_finds_nothing_leaves_exponential_smoothing(wave, make_forecaster, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ValueError

    monkeypatch.setattr("statsforecast.arima.auto_arima_f", fail)
    forecaster = make_forecaster("arima", series=3).fit(wave)
    assert (forecaster._parameters[:, 0] == 1).all()
    assert np.isfinite(forecaster.predict(wave, wave.last_day, 14).quantiles).all()


def test_a_search_sees_gaps_as_lines_between_the_levels_beside_them():
    level, learned = np.array([0.0, 4.0, 0.0, 8.0, 0.0]), np.array([False, True, False, True, False])
    np.testing.assert_array_equal(arima._without_gaps(level, learned), [4, 6, 8])
    assert not len(arima._without_gaps(level, np.zeros(5, bool)))


def test_coefficients_keep_their_names():
    y = np.cumsum(np.random.default_rng(0).normal(1.0, 1.0, 200))
    found = auto_arima_f(y, max_p=2, max_q=2, max_d=1, seasonal=False)
    parameters = arima._parameters(found["coef"], float(found["arma"][5]))
    assert parameters[0] == 1
    assert parameters[1] == pytest.approx(1.0, abs=0.3)
