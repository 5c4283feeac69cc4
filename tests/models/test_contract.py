"""The contract that every registered forecaster keeps, on days and on weeks."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline import models
from pipeline.candidates import NEURAL
from pipeline.errors import ConfigError
from pipeline.models import FORECASTERS, QUANTILES, Forecast
from pipeline.models.frame import long_frame
from pipeline.preprocess.panel import Panel

LOCAL = {"seasonal_naive"}
"""Forecasters that learn each series by itself."""
FREQUENCIES = ("D", "W")


def _cases(names, slow):
    """Return each name at each frequency, named so; those that `slow` picks run in the slow lane."""
    return [
        pytest.param(
            (name, frequency), id=f"{name}-{frequency}", marks=pytest.mark.slow if slow(name, frequency) else ()
        )
        for name in sorted(names)
        for frequency in FREQUENCIES
    ]


KERAS = NEURAL | {"perceptron"}
"""Forecasters that take seconds to import and to fit."""


def _slow(name, frequency):
    return name in KERAS or frequency == "W"


FITTED_ANEW = pytest.mark.parametrize("case", _cases(FORECASTERS, _slow), indirect=True, scope="module")
"""Tests that fit again and again: for networks, and by the week, only in the slow lane."""
CONSTANT, ZERO, GAPPY, NEW, STRANGER = range(5)
"""Positions of the peculiar series."""


@pytest.fixture(scope="module", params=_cases(FORECASTERS, _slow))
def case(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def name(case) -> str:
    return case[0]


@pytest.fixture(scope="module")
def frequency(case) -> str:
    return case[1]


@pytest.fixture(scope="module")
def panel(make_panel, frequency) -> Panel:
    """Ordinary series behind five peculiar ones: constant, all-zero, with gaps, without history, of unknown kind."""
    ordinary = make_panel(frequency=frequency)
    y, observed, static = ordinary.y.copy(), ordinary.observed.copy(), ordinary.static.copy()
    y[CONSTANT], y[ZERO] = 3, 0
    observed[GAPPY, ::3] = False
    observed[GAPPY, -9:] = False
    observed[NEW] = False
    static[STRANGER] = -1
    y[~observed] = 0
    return replace(ordinary, y=y, observed=observed, static=static)


@pytest.fixture(scope="module")
def origin(panel) -> date:
    return panel.last_day - timedelta(days=10 * panel.period_days)


@pytest.fixture(scope="module")
def fitted(name, panel, origin, make_forecaster):
    return make_forecaster(name).fit(panel.until(origin))


@pytest.fixture(scope="module")
def forecast(fitted, panel, origin) -> Forecast:
    return fitted.predict(panel, origin, panel.horizon)


def assert_sound(forecast: Forecast, panel: Panel, horizon: int) -> None:
    size = len(panel.unique_id)
    assert forecast.quantiles.shape == (size, horizon, len(QUANTILES))
    assert forecast.mean.shape == (size, horizon)
    assert forecast.quantiles.dtype == forecast.mean.dtype == np.float32
    assert np.isfinite(forecast.quantiles).all()
    assert np.isfinite(forecast.mean).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    assert (forecast.quantiles >= 0).all()
    assert (forecast.mean >= 0).all()


def assert_equal(one: Forecast, other: Forecast) -> None:
    np.testing.assert_array_equal(one.unique_id, other.unique_id)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    np.testing.assert_array_equal(one.mean, other.mean)


def test_quantiles_have_their_shape_and_order(forecast, panel, origin):
    assert_sound(forecast, panel, panel.horizon)
    assert forecast.origin == origin
    np.testing.assert_array_equal(forecast.unique_id, panel.unique_id)


def test_a_shorter_horizon_is_the_beginning_of_the_longer(fitted, forecast, panel, origin):
    shorter = fitted.predict(panel, origin, 3)
    np.testing.assert_array_equal(shorter.quantiles, forecast.quantiles[:, :3])


def test_the_same_seed_gives_the_same_forecast(name, forecast, panel, origin, make_forecaster):
    again = make_forecaster(name).fit(panel.until(origin)).predict(panel, origin, panel.horizon)
    assert_equal(again, forecast)


def test_what_comes_after_the_origin_changes_nothing(fitted, forecast, panel, origin):
    days = panel.periods_until(origin)
    y, observed, past = panel.y.copy(), panel.observed.copy(), panel.past.copy()
    known, shared = panel.known.copy(), panel.shared.copy()
    y[:, days:], past[:, days:] = 1e6, -1e6
    observed[:, days:] = ~observed[:, days:]
    known[:, days + panel.horizon :], shared[days + panel.horizon :] = 1e6, 1e6
    perturbed = replace(panel, y=y, observed=observed, past=past, known=known, shared=shared)
    assert_equal(fitted.predict(perturbed, origin, panel.horizon), forecast)


def test_an_item_sold_no_more_is_forecast_to_sell_nothing(fitted, forecast, panel, origin):
    gone, leaving = len(panel.unique_id) - 1, len(panel.unique_id) - 2
    after = panel.periods_until(origin)
    ends = panel.ends.copy()
    ends[gone], ends[leaving] = after - 3, after + 4
    found = fitted.predict(replace(panel, ends=ends), origin, panel.horizon)
    assert not found.quantiles[gone].any()
    assert not found.mean[gone].any()
    assert not found.quantiles[leaving, 4:].any()
    np.testing.assert_array_equal(found.quantiles[leaving, :4], forecast.quantiles[leaving, :4])
    np.testing.assert_array_equal(found.quantiles[:leaving], forecast.quantiles[:leaving])


def test_covariates_that_were_never_known_do_no_harm(name, frequency, make_panel, make_forecaster):
    panel = make_panel(days=60, frequency=frequency, past=6, known=4, shared=5)
    panel = replace(panel, past=np.zeros_like(panel.past), known=np.zeros_like(panel.known))
    assert_sound(make_forecaster(name).fit(panel).predict(panel, panel.last_day, panel.horizon), panel, panel.horizon)


def test_periods_ahead_are_named_by_their_first_day(forecast, panel, origin):
    frame = long_frame(forecast)
    first = [day.toordinal() - origin.toordinal() for day in frame["ds"].to_pylist()[: panel.horizon]]
    assert first == [1 + panel.period_days * lead for lead in range(panel.horizon)]
    assert frame["lead"].to_pylist()[: panel.horizon] == list(range(1, panel.horizon + 1))


def test_a_later_origin_sees_the_new_days_without_a_new_fit(fitted, forecast, panel):
    later = fitted.predict(panel, panel.last_day, panel.horizon)
    assert_sound(later, panel, panel.horizon)
    assert not np.array_equal(later.quantiles, forecast.quantiles)


def test_an_item_without_history_starts_from_its_kin(forecast, panel):
    usual = np.median(panel.y[panel.observed.all(axis=1)].mean(axis=1))
    assert 0.1 * usual < forecast.mean[NEW].mean() < 10 * usual


def test_an_item_and_labels_that_the_fit_did_not_know(fitted, panel, origin):
    levels = tuple((*labels, "never seen") for labels in panel.static_levels)
    static = panel.static.copy()
    static[-1] = [len(labels) - 1 for labels in levels]
    unique_id = panel.unique_id.copy()
    unique_id[-1] = "item-999"
    changed = replace(panel, unique_id=unique_id, static=static, static_levels=levels)
    assert_sound(fitted.predict(changed, origin, panel.horizon), changed, panel.horizon)


def test_renumbered_labels_mean_the_same(fitted, forecast, panel, origin):
    levels = tuple(tuple(reversed(labels)) for labels in panel.static_levels)
    last = np.array([len(labels) - 1 for labels in levels])
    static = np.where(panel.static < 0, -1, last - panel.static).astype(np.int32)
    changed = replace(panel, static=static, static_levels=levels)
    assert_equal(fitted.predict(changed, origin, panel.horizon), forecast)


def test_an_item_that_never_sells_is_not_forecast_to_sell_much(forecast):
    assert np.median(forecast.quantiles[ZERO, :, 4]) <= 0.5


def test_a_saved_forecaster_is_the_same_forecaster(fitted, forecast, panel, origin, tmp_path):
    models.save(fitted, tmp_path / "model")
    assert_equal(models.load(tmp_path / "model").predict(panel, origin, panel.horizon), forecast)


def test_nothing_is_pickled(fitted, tmp_path):
    models.save(fitted, tmp_path / "model")
    kinds = {file.suffix for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert kinds <= {".json", ".txt", ".npz", ".h5"}


@pytest.mark.parametrize("case", _cases(LOCAL, lambda *_: False), indirect=True, scope="module")
def test_a_local_model_forecasts_a_series_alone_as_in_the_crowd(name, forecast, panel, origin, make_forecaster):
    position = len(panel.unique_id) - 1
    single = panel.take([position])
    alone = make_forecaster(name).fit(single.until(origin)).predict(single, origin, panel.horizon)
    np.testing.assert_array_equal(alone.quantiles[0], forecast.quantiles[position])


@FITTED_ANEW
@pytest.mark.parametrize("days", [1, 2, 9, 30])
def test_a_very_short_history_is_enough(name, frequency, days, make_panel, make_forecaster):
    short = make_panel(days=days, frequency=frequency)
    assert_sound(make_forecaster(name).fit(short).predict(short, short.last_day, short.horizon), short, short.horizon)


@FITTED_ANEW
@pytest.mark.parametrize("absent", ["past", "known", "shared", "static"])
def test_no_covariate_is_required(name, frequency, absent, make_panel, make_forecaster):
    panel = make_panel(days=60, frequency=frequency, **{absent: 0})
    assert_sound(make_forecaster(name).fit(panel).predict(panel, panel.last_day, panel.horizon), panel, panel.horizon)


@FITTED_ANEW
def test_one_series_without_any_covariate(name, frequency, make_panel, make_forecaster):
    panel = make_panel(series=1, days=60, frequency=frequency, past=0, known=0, shared=0, static=0)
    assert_sound(make_forecaster(name).fit(panel).predict(panel, panel.last_day, panel.horizon), panel, panel.horizon)


@FITTED_ANEW
def test_a_panel_where_nothing_was_ever_observed(name, frequency, make_panel, make_forecaster):
    panel = make_panel(days=40, frequency=frequency)
    empty = replace(panel, y=np.zeros_like(panel.y), observed=np.zeros_like(panel.observed))
    forecast = make_forecaster(name).fit(empty).predict(empty, empty.last_day, empty.horizon)
    assert_sound(forecast, empty, empty.horizon)


@FITTED_ANEW
def test_fitting_reports_a_learning_curve_that_ends(name, panel, make_forecaster):
    steps: list[tuple[int, int]] = []
    make_forecaster(name).fit(panel, progress=lambda step, total, _: steps.append((step, total)))
    assert steps == sorted(steps)
    assert all(step <= total for step, total in steps)
    if steps:
        assert steps[-1][0] == steps[-1][1]


@FITTED_ANEW
def test_a_warm_start_forecasts_too(name, fitted, panel, make_forecaster):
    warm = make_forecaster(name).fit(panel, warm_start=fitted)
    assert_sound(warm.predict(panel, panel.last_day, panel.horizon), panel, panel.horizon)


@pytest.mark.parametrize("horizon", [0, 15])
def test_a_horizon_beyond_the_known_future_is_refused(fitted, panel, origin, horizon):
    with pytest.raises(ValueError, match=f"horizon of {horizon} periods"):
        fitted.predict(panel, origin, horizon)


def test_an_unknown_group_level_is_named(make_forecaster, panel):
    with pytest.raises(ConfigError, match=r"'colour'.*static_0, static_1"):
        make_forecaster("category_sarimax", level="colour").fit(panel)


ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
from pipeline import models
from pipeline.preprocess.panel import Panel
folder = Path(sys.argv[1])
panel = Panel.load(folder / "panel")
for place in sorted((folder / "models").iterdir()):
    loaded = models.load(place)
    fitted = models.build(loaded.settings, loaded.seed).fit(panel)
    for kind, model in (("loaded", loaded), ("fitted", fitted)):
        quantiles = model.predict(panel, panel.last_day, panel.horizon).quantiles
        np.save(folder / f"{place.name}-{kind}.npy", quantiles)
"""


@pytest.mark.slow
def test_a_new_process_loads_and_fits_the_same(make_panel, make_forecaster, tmp_path):
    panel = make_panel()
    panel.save(tmp_path / "panel")
    here = {}
    for name in sorted(FORECASTERS):
        model = make_forecaster(name).fit(panel)
        models.save(model, tmp_path / "models" / name)
        here[name] = model.predict(panel, panel.last_day, panel.horizon).quantiles
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path)], check=True, capture_output=True)
    for name, quantiles in here.items():
        for kind in ("loaded", "fitted"):
            there = np.load(tmp_path / f"{name}-{kind}.npy")
            np.testing.assert_array_equal(there, quantiles, err_msg=f"{name}, {kind}")
