from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.levels import Levels
from pipeline.models.neural.sampling import Distortion, Hiding, Sampler
from pipeline.models.neural.windows import DEMAND, OWN_FUTURE, SEEN, Standard, Windows, WindowShape

STILL = Distortion(jitter=0, scaling=0, warping=0, masking=0, step=7, past=2)
"""What changes nothing."""


@pytest.fixture
def windows(make_panel):
    panel = make_panel(series=6, days=100)
    return Windows(panel, Levels.of(panel, 56), Standard.of(panel), WindowShape(context=21, horizon=14))


@pytest.fixture
def batch(windows):
    return Sampler(windows, range(30, 80), 80, 64, 1).batch(0, 0)


def distorted(batch, **changes):
    return replace(STILL, **changes).apply(*batch, np.random.default_rng(0))


def test_nothing_asked_nothing_distorted(batch):
    inputs, targets = distorted(batch)
    for name, values in batch[0].items():
        np.testing.assert_array_equal(inputs[name], values)
    np.testing.assert_array_equal(targets, batch[1])


def test_what_is_distorted_is_a_copy(batch):
    before = {name: values.copy() for name, values in batch[0].items()}
    distorted(batch, jitter=0.2, scaling=0.2, warping=0.9, masking=0.5)
    for name, values in batch[0].items():
        np.testing.assert_array_equal(values, before[name])


def test_jitter_moves_demand_that_was_seen_and_nothing_else(batch):
    batch[0]["context"][:, 3, [DEMAND, SEEN]] = 0
    found = distorted(batch, jitter=0.2)[0]["context"]
    given = batch[0]["context"]
    moved = found[..., DEMAND] - given[..., DEMAND]
    assert (moved[:, 3] == 0).all()
    ample = given[..., DEMAND] > 1
    assert moved[ample].std() == pytest.approx(0.2, rel=0.1)
    np.testing.assert_array_equal(found[..., SEEN:], given[..., SEEN:])


def test_scaling_multiplies_the_whole_window_alike(batch):
    inputs, targets = distorted(batch, scaling=0.3)
    sold = batch[1][:, 0, 0] > 0
    factor = (targets[sold, 0, 0] / batch[1][sold, 0, 0])[:, None]
    assert np.log(factor).std() == pytest.approx(0.3, rel=0.3)
    np.testing.assert_allclose(
        np.expm1(inputs["context"][sold, :, DEMAND]), np.expm1(batch[0]["context"][sold, :, DEMAND]) * factor, atol=1e-4
    )
    np.testing.assert_allclose(
        np.expm1(inputs["future"][sold, :, -OWN_FUTURE]),
        np.expm1(batch[0]["future"][sold, :, -OWN_FUTURE]) * factor,
        rtol=1e-4,
    )
    np.testing.assert_array_equal(targets[..., 1:], batch[1][..., 1:])


def test_warping_keeps_periods_whole_and_their_order_and_ends(batch):
    found = distorted(batch, warping=0.5)[0]["context"]
    changed = 0
    for one, given in zip(found, batch[0]["context"], strict=True):
        places = [np.flatnonzero((given == period).all(axis=1))[0] for period in one]
        assert places == sorted(places)
        assert (places[0], places[-1]) == (0, 20)
        changed += places != list(range(21))
    assert 0.3 < changed / len(found) < 0.7


def test_masking_hides_whole_steps_of_what_is_known_only_afterwards(batch):
    found = distorted(batch, masking=0.4)[0]["context"]
    hidden = (found[..., : SEEN + 3] == 0).all(axis=-1).reshape(-1, 3, 7)
    assert (hidden.all(axis=-1) == hidden.any(axis=-1)).all()
    assert 0.25 < hidden.mean() < 0.55
    np.testing.assert_array_equal(found[..., SEEN + 3 :], batch[0]["context"][..., SEEN + 3 :])


def test_what_is_hidden_is_to_be_filled_in(windows):
    hiding = Hiding(windows, range(30, 80), 64, 1, share=0.4, step=7)
    inputs, targets = hiding.batch(0, 0)
    assert set(inputs) == set(Hiding.INPUTS)
    hidden = targets[..., 1] == 1
    assert 0.25 < hidden.mean() < 0.55
    assert (inputs["context"][hidden][:, : SEEN + 3] == 0).all()
    assert (targets[hidden][:, 0] > 0).any()
    np.testing.assert_array_equal(targets[~hidden][:, 0], inputs["context"][~hidden][:, DEMAND])
    again = hiding.batch(0, 0)
    np.testing.assert_array_equal(again[0]["context"], inputs["context"])
    assert not np.array_equal(hiding.batch(0, 1)[0]["context"], inputs["context"])
