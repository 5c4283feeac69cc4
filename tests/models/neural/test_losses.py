import numpy as np

from pipeline.models import QUANTILES
from pipeline.models.neural.losses import masked_pinball


def independent(value, weight, forecast):
    """Return the same loss by loops over plain numbers."""
    total = weights = 0.0
    for b, h in np.ndindex(value.shape):
        weights += weight[b, h]
        for q, level in enumerate(QUANTILES):
            gap = value[b, h] - forecast[b, h, q]
            total += weight[b, h] * 2 * (level * gap if gap >= 0 else (level - 1) * gap)
    return total / weights


def test_the_pinball_loss_equals_an_independent_one():
    rng = np.random.default_rng(0)
    value, weight = rng.gamma(1, 2, (5, 4)), rng.random((5, 4)) * (rng.random((5, 4)) < 0.6)
    forecast = np.sort(rng.gamma(1, 2, (5, 4, len(QUANTILES))), axis=-1)
    target = np.stack([value, weight], axis=-1)
    found = float(masked_pinball(QUANTILES)(target.astype("float32"), forecast.astype("float32")))
    np.testing.assert_allclose(found, independent(value, weight, forecast), rtol=1e-5)


def test_what_is_not_observed_does_not_count():
    target = np.array([[[3.0, 1.0], [1e9, 0.0]]], "float32")
    loss = masked_pinball([0.5])
    assert float(loss(target, np.array([[[1.0], [1.0]]], "float32"))) == 2.0
    nothing = target * np.array([1.0, 0.0], "float32")
    assert float(loss(nothing, np.array([[[1.0], [1.0]]], "float32"))) == 0.0
