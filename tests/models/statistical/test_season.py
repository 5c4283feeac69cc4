from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.statistical.season import SeasonFactors


def _over(panel, horizon=14):
    return SeasonFactors.of(panel).over(panel, slice(0, len(panel.unique_id)), horizon)


def test_weekdays_have_the_factors_of_their_units(make_panel):
    panel = make_panel(series=40, days=364)
    factors = _over(panel)
    assert factors.shape == (364 + 14, 40)
    np.testing.assert_allclose(factors[:7].mean(axis=0), 1)
    np.testing.assert_allclose(factors[7:], factors[:-7])
    weekend = np.arange(7) >= 5
    assert factors[:7][weekend].mean() / factors[:7][~weekend].mean() == pytest.approx(1.5, rel=0.05)


def test_a_series_that_sells_much_keeps_its_own_week(make_panel):
    panel = make_panel(series=10, days=210)
    y = panel.y.copy()
    own = np.where(np.arange(210) % 7 == 2, 700, 100)
    y[0], y[1], y[2:] = own, own / 1000, 100 * y[2:]
    factors = _over(replace(panel, y=y))[:7]
    assert factors[2, 0] / factors[3, 0] > 4
    assert factors[2, 1] / factors[3, 1] < 2


def test_closed_weekdays_have_no_demand(make_panel):
    panel = make_panel(series=10, days=210)
    y = np.where(np.arange(210) % 7 == 6, 0, panel.y)
    factors = _over(replace(panel, y=y.astype(np.float32)))
    assert not factors[6::7].any()


def test_the_time_of_the_year_counts_once_two_years_are_known(make_panel):
    panel = make_panel(series=30, days=160, frequency="W")
    angle = 2 * np.pi * 7 * np.arange(160) / 365.25
    y = (20 * (1 + 0.5 * np.sin(angle))[None] * np.ones((30, 1))).astype(np.float32)
    panel = replace(panel, y=y)
    found = _over(panel)
    coming = 1 + 0.5 * np.sin(2 * np.pi * 7 * np.arange(160, 174) / 365.25)
    np.testing.assert_allclose(found[160:, 0] / found[:, 0].mean(), coming, atol=0.15)
    early = panel.until(panel.days[95].item() + np.timedelta64(6, "D").item())
    np.testing.assert_array_equal(_over(early), 1)


def test_a_series_that_was_not_measured_has_the_factors_of_all(make_panel):
    panel = make_panel(series=12, days=120)
    factors = SeasonFactors.of(panel)
    stranger = replace(panel, unique_id=np.array([*panel.unique_id[:-1], "never seen"]))
    found = factors.over(stranger, slice(11, 12), 0)[:7, 0]
    place = panel.days[:7].astype(np.int64) % 7
    np.testing.assert_allclose(found, factors.pooled[place])
