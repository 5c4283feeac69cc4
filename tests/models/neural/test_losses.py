import numpy as np
import pytest

from pipeline.models import QUANTILES
from pipeline.models.neural.losses import censored_pinball, masked_error


def independent(value, weight, censored, forecast):
    """Return the same loss by loops over plain numbers."""
    total = weights = 0.0
    for b, h in np.ndindex(value.shape):
        weights += weight[b, h]
        for q, level in enumerate(QUANTILES):
            gap = value[b, h] - forecast[b, h, q]
            if gap >= 0 or not censored[b, h]:
                total += weight[b, h] * 2 * (level * gap if gap >= 0 else (level - 1) * gap)
    return total / weights


def test_the_pinball_loss_equals_an_independent_one():
    rng = np.random.default_rng(0)
    value, weight = rng.gamma(1, 2, (5, 4)), rng.random((5, 4)) * (rng.random((5, 4)) < 0.6)
    censored = rng.random((5, 4)) < 0.4
    forecast = np.sort(rng.gamma(1, 2, (5, 4, len(QUANTILES))), axis=-1)
    target = np.stack([value, weight, censored], axis=-1)
    found = float(censored_pinball(QUANTILES)(target.astype("float32"), forecast.astype("float32")))
    np.testing.assert_allclose(found, independent(value, weight, censored, forecast), rtol=1e-5)


def test_what_is_not_observed_does_not_count():
    target = np.array([[[3.0, 1.0, 0.0], [1e9, 0.0, 0.0]]], "float32")
    loss = censored_pinball([0.5])
    assert float(loss(target, np.array([[[1.0], [1.0]]], "float32"))) == 2.0
    nothing = target * np.array([1.0, 0.0, 0.0], "float32")
    assert float(loss(nothing, np.array([[[1.0], [1.0]]], "float32"))) == 0.0


def test_the_least_that_demand_can_have_been_costs_only_forecasts_below_it():
    loss = censored_pinball([0.5, 0.9])
    sold_out = np.array([[[4.0, 1.0, 1.0]]], "float32")
    assert float(loss(sold_out, np.array([[[4.0, 9.0]]], "float32"))) == 0.0
    assert float(loss(sold_out, np.array([[[2.0, 9.0]]], "float32"))) == pytest.approx(2 * 0.5 * 2)
    assert float(loss(sold_out, np.array([[[2.0, 3.0]]], "float32"))) == pytest.approx(2 * (0.5 * 2 + 0.9 * 1))


def test_only_what_was_hidden_is_to_be_filled_in():
    target = np.array([[[1.0, 1.0], [5.0, 0.0], [2.0, 1.0]]], "float32")
    assert float(masked_error(target, np.array([[2.0, 0.0, 2.0]], "float32"))) == pytest.approx(0.5)
