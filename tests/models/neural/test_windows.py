from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.levels import Levels
from pipeline.models.neural.sampling import Sampler
from pipeline.models.neural.windows import OWN_FUTURE, Standard, Windows, WindowShape
from pipeline.preprocess.panel import Panel

LEVEL = 56
"""Days of the level of daily panels."""
SHAPE = WindowShape(context=21, horizon=14)


@pytest.fixture
def panel(make_panel):
    drawn = make_panel(series=6, days=100)
    observed = drawn.observed.copy()
    observed[2, 50:75] = False
    return replace(drawn, y=np.where(observed, drawn.y, 0), observed=observed)


@pytest.fixture
def windows(panel):
    return Windows(panel, Levels.of(panel, LEVEL), Standard.of(panel), SHAPE)


def test_a_window_is_the_slice_of_the_panel(panel, windows):
    series, origin = np.array([2, 4]), np.array([70, 99])
    inputs = windows.inputs(series, origin)
    level = windows.level(series, origin)
    for row, (s, t) in enumerate(zip(series, origin, strict=True)):
        past = slice(t - 20, t + 1)
        np.testing.assert_allclose(inputs["context"][row, :, 0], np.log1p(panel.y[s, past] / level[row]), rtol=1e-5)
        np.testing.assert_array_equal(inputs["context"][row, :, 1], panel.observed[s, past])
        known = panel.known[s, t + 1 : t + 15]
        mean, spread = (np.array([Standard.of(panel).moments[name][i] for name in panel.known_names]) for i in (0, 1))
        np.testing.assert_allclose(inputs["future"][row, :, :2], (known - mean) / spread, rtol=1e-4, atol=1e-5)


def test_days_before_the_history_are_empty(windows):
    context = windows.inputs(np.array([0]), np.array([4]))["context"]
    assert (context[0, :16] == 0).all()
    assert (context[0, 16:, 1] == 1).all()


def test_targets_weigh_nothing_where_not_observed_or_too_late(panel, windows):
    targets = windows.targets(np.array([2, 0]), np.array([68, 90]), last=95)
    np.testing.assert_array_equal(targets[0, :, 1] > 0, panel.observed[2, 69:83])
    np.testing.assert_array_equal(targets[1, :, 1] > 0, np.arange(91, 105) <= 95)
    level = windows.level(np.array([0]), np.array([90]))
    np.testing.assert_allclose(targets[1, :5, 0], panel.y[0, 91:96] / level, rtol=1e-6)


def test_what_was_sold_before_the_stock_ran_out_is_the_least_that_demand_was(panel):
    at_least, observed, y = np.zeros_like(panel.y), panel.observed.copy(), panel.y.copy()
    observed[3, 80:83], y[3, 80:83] = False, 0
    at_least[3, 80:82] = [5, 7]
    panel = replace(panel, y=y, observed=observed, at_least=at_least)
    windows = Windows(panel, Levels.of(panel, LEVEL), Standard.of(panel), SHAPE)
    at = np.array([3]), np.array([79])
    targets, level = windows.targets(*at, last=81)[0], windows.level(*at)[0]
    np.testing.assert_allclose(targets[:2, 0] * level, [5, 7], rtol=1e-6)
    np.testing.assert_array_equal(targets[:3, 2], [1, 1, 0])
    np.testing.assert_array_equal(targets[:3, 1] > 0, [True, True, False])
    assert windows.targets(*at, last=80)[0, 1, 1] == 0
    assert (windows.inputs(np.array([3]), np.array([82]))["context"][0, -3:, :2] == 0).all()


def test_the_same_weekday_is_found_at_every_lead(make_panel):
    panel = make_panel(series=1, days=70)
    panel = replace(panel, y=(1 + np.arange(70) % 7).astype(np.float32)[None])
    windows = Windows(panel, Levels.of(panel, LEVEL), Standard.of(panel), SHAPE)
    at = np.array([0]), np.array([69])
    last = np.expm1(windows.inputs(*at)["future"][0, :, 1 - OWN_FUTURE]) * windows.level(*at)
    np.testing.assert_allclose(last, 1 + np.arange(70, 84) % 7, rtol=1e-4)


@pytest.mark.parametrize(("frequency", "year", "reach"), [("D", 364, 3), ("W", 52, 1)])
def test_the_same_time_of_the_year_before_is_found_at_every_lead(make_panel, frequency, year, reach):
    panel = make_panel(series=2, days=400, frequency=frequency)
    observed = panel.observed.copy()
    observed[1, : 400 - year + 5] = False
    panel = replace(panel, y=np.where(observed, panel.y, 0), observed=observed)
    windows = Windows(panel, Levels.of(panel, LEVEL), Standard.of(panel), SHAPE)
    at = np.array([0, 1]), np.array([399, 399])
    future, level = windows.inputs(*at)["future"], windows.level(*at)
    for lead in (1, 14):
        about = slice(399 + lead - year - reach, 399 + lead - year + reach + 1)
        np.testing.assert_allclose(np.expm1(future[0, lead - 1, -2]) * level[0], panel.y[0, about].mean(), rtol=1e-4)
        assert future[0, lead - 1, -1] == 1
        assert future[1, lead - 1, -1] == pytest.approx(observed[1, about].mean())


def test_a_year_before_the_history_is_empty(windows):
    future = windows.inputs(np.array([0]), np.array([99]))["future"]
    assert (future[..., -2:] == 0).all()


def test_the_state_tells_level_recent_demand_and_how_often_it_sells(panel, windows):
    series, origin = np.array([2, 4]), np.array([74, 99])
    state, level = windows.inputs(series, origin)["state"], windows.level(series, origin)
    np.testing.assert_allclose(state[:, 0], np.log(level), rtol=1e-5)
    recent = panel.y[4, 95:100].mean() / level[1]
    np.testing.assert_allclose(np.expm1(state[1, 1]), recent, rtol=1e-4)
    assert state[0, 1] == pytest.approx(np.log(2))
    np.testing.assert_array_equal(state[:, 2], [0, 1])
    assert state[1, 3] == pytest.approx((panel.y[4, 79:100] > 0).mean())


def test_windows_are_deaf_to_the_future(panel, windows):
    y, observed, past = panel.y.copy(), panel.observed.copy(), panel.past.copy()
    y[:, 80:], past[:, 80:], observed[:, 80:] = 1e6, 1e6, False
    changed = Windows(
        replace(panel, y=y, observed=observed, past=past), Levels.of(panel, LEVEL), Standard.of(panel), SHAPE
    )
    series, origin = np.arange(6), np.full(6, 79)
    for name, values in windows.inputs(series, origin).items():
        np.testing.assert_array_equal(changed.inputs(series, origin)[name], values)


def test_batches_repeat_by_seed_and_differ_by_step(windows):
    def first(seed, epoch, step):
        return Sampler(windows, range(30, 80), 80, 8, seed).batch(epoch, step)[0]["context"]

    np.testing.assert_array_equal(first(1, 2, 3), first(1, 2, 3))
    for other in ((1, 2, 4), (1, 3, 3), (2, 2, 3)):
        assert not np.array_equal(first(1, 2, 3), first(*other))


def test_batches_come_from_a_panel_mapped_into_memory(panel, windows, tmp_path):
    panel.save(tmp_path)
    mapped = Panel.load(tmp_path)
    other = Windows(mapped, Levels.of(mapped, LEVEL), Standard.of(mapped), SHAPE)
    one, two = (Sampler(source, range(30, 80), 80, 8, 1).batch(0, 0) for source in (windows, other))
    np.testing.assert_array_equal(one[0]["context"], two[0]["context"])
    np.testing.assert_array_equal(one[1], two[1])


def test_an_unknown_covariate_is_named(panel):
    with pytest.raises(ValueError, match="'weather'"):
        Standard.of(panel).apply(np.zeros((1, 1)), ("weather",))
