"""Greedy weights, averages and the ensemble as a forecaster of its own."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations_with_replacement

import numpy as np
import pytest

from pipeline.evaluate.metrics import weighted_quantile_loss
from pipeline.models import QUANTILES
from pipeline.models.ensemble import averaged_forward, greedy_weights
from pipeline.models.past import PastForecasts

LEVELS = np.array(QUANTILES)


@pytest.fixture
def panel(make_panel):
    return make_panel(series=20, days=200)


def _past(panel, center: float, noise: float, seed: int) -> PastForecasts:
    rng = np.random.default_rng(seed)
    size, horizon, origins = len(panel.unique_id), panel.horizon, 3
    days = [panel.last_day - timedelta(days=horizon * back) for back in range(origins, 0, -1)]
    shape = (origins, size, horizon)
    middle = center + rng.normal(0, noise, shape)
    return PastForecasts(
        tuple(days),
        np.array([panel.periods_until(day) for day in days]),
        np.random.default_rng(99).gamma(20, 5, shape).astype(np.float32),
        (middle[..., None] + 20 * (LEVELS - 0.5)).astype(np.float32),
        middle.astype(np.float32),
    )


@pytest.fixture
def members(panel):
    return [_past(panel, 100, 25, 1), _past(panel, 95, 25, 2), _past(panel, 160, 5, 3)]


def _loss(members, weights) -> float:
    quantiles = sum(weight * member.quantiles for weight, member in zip(weights, members, strict=True))
    return weighted_quantile_loss(members[0].y.reshape(-1), quantiles.reshape(-1, len(LEVELS)), QUANTILES)


def test_greedy_weights_come_near_the_best_of_all_multiples(members):
    picks = 6
    weights = greedy_weights(members, picks)
    assert weights.sum() == pytest.approx(1)
    best = min(
        _loss(members, np.bincount(chosen, minlength=3) / picks)
        for chosen in combinations_with_replacement(range(3), picks)
    )
    assert _loss(members, weights) == pytest.approx(best, rel=0.005)
    assert _loss(members, weights) < min(_loss(members, np.eye(3)[number]) for number in range(3))
    assert weights[2] < min(weights[:2])


def test_members_weigh_alike_where_nothing_has_come(members):
    unknown = [replace(member, y=np.full_like(member.y, np.nan)) for member in members]
    np.testing.assert_array_equal(greedy_weights(unknown, 5), np.full(3, 1 / 3))


def test_an_origin_weighs_by_what_it_knew(panel, members):
    position = 1
    changed = []
    for member in members:
        y = member.y.copy()
        period = member.ends[:, None] + np.arange(y.shape[2])
        y[np.broadcast_to((period >= member.ends[position])[:, None, :], y.shape)] = 1e6
        changed.append(replace(member, y=y))
    expected = averaged_forward(members, panel, 8)[position]
    found = averaged_forward(changed, panel, 8)[position]
    np.testing.assert_array_equal(found.quantiles, expected.quantiles)


def test_an_ensemble_weighs_its_members_on_a_held_out_tail(make_panel, make_forecaster):
    panel = make_panel(series=20, days=200)
    seen = []
    ensemble = make_forecaster("ensemble").fit(panel, progress=lambda step, steps, _: seen.append((step, steps)))
    assert sum(ensemble.weights.values()) == pytest.approx(1)
    assert set(ensemble.weights) <= set(ensemble.settings.members)
    assert seen
    shallow = panel.until(panel.last_day - timedelta(days=180))
    assert len(set(make_forecaster("ensemble").fit(shallow).weights.values())) == 1
