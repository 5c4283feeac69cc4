from dataclasses import replace

import numpy as np
import pytest
from statsforecast.models import TSB, CrostonClassic, CrostonSBA

SMOOTHING = 0.1
"""What statsforecast fixes it at."""


@pytest.fixture(scope="module")
def panel(make_panel):
    """Series that sell now and then."""
    panel = make_panel(series=6, days=150)
    rng = np.random.default_rng(5)
    sold = rng.random(panel.y.shape) < np.linspace(0.1, 0.6, 6)[:, None]
    return replace(panel, y=np.where(sold, panel.y + 1, 0).astype(np.float32))


@pytest.mark.parametrize(
    ("method", "oracle"),
    [("croston", CrostonClassic()), ("sba", CrostonSBA()), ("tsb", TSB(alpha_d=SMOOTHING, alpha_p=SMOOTHING))],
)
def test_each_method_agrees_with_statsforecast(panel, make_forecaster, method, oracle):
    forecaster = make_forecaster("intermittent", method=method, smoothing=SMOOTHING, seasonal=False).fit(panel)
    mean = forecaster.predict(panel, panel.last_day, 14).mean
    expected = np.stack([oracle.forecast(y=y, h=14)["mean"] for y in panel.y])
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_croston_by_hand(make_panel, make_forecaster):
    panel = make_panel(series=1, days=28)
    y = np.zeros((1, 28), np.float32)
    y[0, [3, 7, 9]] = 4, 8, 2
    forecaster = make_forecaster("intermittent", method="croston", smoothing=0.5, seasonal=False)
    found = forecaster.fit(replace(panel, y=y)).predict(replace(panel, y=y), panel.last_day, 1).mean
    size = (4 + 8) / 2 / 2 + 2 / 2
    interval = (4 + 4) / 2 / 2 + 2 / 2
    assert found[0, 0] == pytest.approx(size / interval)


def test_periods_that_were_not_observed_are_no_waiting_time(panel, make_forecaster):
    observed = panel.observed.copy()
    observed[:, 40:110] = False
    gaps = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    joined = replace(
        panel.until(panel.days[79].item()),
        y=np.delete(gaps.y, slice(40, 110), axis=1),
        observed=np.ones((6, 80), bool),
    )
    settings = {"method": "sba", "smoothing": 0.1, "seasonal": False}
    one, other = (
        make_forecaster("intermittent", **settings).fit(one).predict(one, one.last_day, 5).mean
        for one in (gaps, joined)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_tsb_forgets_what_is_sold_no_more(panel, make_forecaster):
    y = panel.y.copy()
    y[:, -100:] = 0
    dead = replace(panel, y=y)
    sba, tsb = (
        make_forecaster("intermittent", method=method, smoothing=0.1).fit(dead).predict(dead, dead.last_day, 7).mean
        for method in ("sba", "tsb")
    )
    assert tsb.max() < 0.01
    assert (sba.mean(axis=1) > 0.1).all()
