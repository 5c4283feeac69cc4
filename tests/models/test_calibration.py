"""Calibration: what it promises of coverage, and what it leaves alone."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.models import QUANTILES, Forecast
from pipeline.models.calibration import Calibration, calibrated_forward, segments_of
from pipeline.models.past import PastForecasts

LEVELS = np.array(QUANTILES)
MEDIAN = QUANTILES.index(0.5)


@pytest.fixture
def panel(make_panel):
    return make_panel(series=400, days=200)


def _past(panel, *, width: float, origins: int = 4) -> PastForecasts:
    """Return forecasts whose spread is `width` times that of the demand that came, which is normal about 100."""
    rng = np.random.default_rng(3)
    size, horizon = len(panel.unique_id), panel.horizon
    days = [panel.last_day - timedelta(days=horizon * back) for back in range(origins, 0, -1)]
    quantiles = 100 + 10 * width * norm.ppf(LEVELS)
    shape = (origins, size, horizon)
    return PastForecasts(
        tuple(days),
        np.array([panel.periods_until(day) for day in days]),
        rng.normal(100, 10, shape).astype(np.float32),
        np.broadcast_to(quantiles, (*shape, len(LEVELS))).astype(np.float32),
        np.full(shape, 100, np.float32),
    )


def _coverage(y, forecast: Forecast) -> float:
    return float(((forecast.quantiles[..., 0] <= y) & (y <= forecast.quantiles[..., -1])).mean())


@pytest.mark.parametrize("width", [0.5, 1.0, 1.9])
def test_quantiles_too_narrow_or_too_wide_come_to_cover_what_they_say(panel, width):
    past = _past(panel, width=width)
    forecasts = calibrated_forward(past, panel)
    covered = _coverage(past.y[-1], forecasts[-1])
    assert covered == pytest.approx(0.8, abs=0.03)
    below = (past.y[-1][..., None] < forecasts[-1].quantiles).mean(axis=(0, 1))
    np.testing.assert_allclose(below, LEVELS, atol=0.04)


def test_the_first_origin_has_nothing_to_learn_from(panel):
    past = _past(panel, width=0.5)
    np.testing.assert_array_equal(calibrated_forward(past, panel)[0].quantiles, past.quantiles[0])


def test_an_origin_never_learns_from_demand_that_came_after_it(panel):
    past = _past(panel, width=0.5)
    position = 2
    y = past.y.copy()
    period = past.ends[:, None] + np.arange(y.shape[2])
    y[np.broadcast_to((period >= past.ends[position])[:, None, :], y.shape)] = 1e6
    expected = calibrated_forward(past, panel)[position].quantiles
    found = calibrated_forward(replace(past, y=y), panel)[position].quantiles
    np.testing.assert_array_equal(found, expected)


def test_the_median_stays_and_quantiles_keep_their_order(panel):
    past = _past(panel, width=0.5)
    found = calibrated_forward(past, panel)[-1].quantiles
    np.testing.assert_array_equal(found[..., MEDIAN], past.quantiles[-1][..., MEDIAN])
    assert (np.diff(found, axis=-1) >= 0).all()
    assert (found >= 0).all()


def test_a_part_of_the_horizon_may_need_more_than_another(panel):
    past = _past(panel, width=1.0)
    y = past.y.copy()
    horizon = y.shape[2]
    late = slice(horizon - 3, horizon)
    y[..., late] = 100 + 2 * (y[..., late] - 100)
    calibration = Calibration.of(replace(past, y=y), segments_of(panel, past.ends))
    assert calibration.factors[-1, :, -1].max() > 1.5
    assert calibration.factors[0, :, -1].max() < 1.2


def test_slow_sellers_are_told_from_fast_ones(panel):
    y = panel.y.copy()
    y[0], y[1] = 0, 5
    y[0, ::10] = 1
    segments = segments_of(replace(panel, y=y), [panel.y.shape[1]])[0]
    assert (segments[0], segments[1]) == (2, 0)


def test_what_was_written_is_read_again(tmp_path, panel):
    past = _past(panel, width=0.5)
    calibration = Calibration.of(past, segments_of(panel, past.ends))
    calibration.save(tmp_path / "calibration.json")
    np.testing.assert_array_equal(Calibration.load(tmp_path / "calibration.json").factors, calibration.factors)
