"""Metrics against plain loops and known values; unobserved rows never count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.evaluate import metrics

FEWER = settings(max_examples=40)
"""Each example is up to thirty forecasts by itself."""
LEVELS = (0.1, 0.5, 0.9)
numbers = st.floats(0, 1000, width=32)


@st.composite
def forecasts(draw) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 30))
    y = draw(hnp.arrays(float, size, elements=numbers).filter(lambda values: values.sum() > 0))
    return y, np.sort(draw(hnp.arrays(float, (size, 3), elements=numbers)), axis=1)


@FEWER
@given(forecasts())
def test_weighted_quantile_loss_is_the_mean_pinball_loss_of_scikit_learn_scaled(pair) -> None:
    from sklearn import metrics as sk

    y, quantiles = pair
    pinball = [sk.mean_pinball_loss(y, quantiles[:, i], alpha=level) for i, level in enumerate(LEVELS)]
    expected = 2 * np.mean(pinball) * len(y) / np.abs(y).sum()
    assert metrics.weighted_quantile_loss(y, quantiles, LEVELS) == pytest.approx(expected)


@FEWER
@given(forecasts())
def test_point_metrics_equal_scikit_learns(pair) -> None:
    from sklearn import metrics as sk

    y, quantiles = pair
    point = quantiles[:, 1]
    assert metrics.mae(y, point) == pytest.approx(sk.mean_absolute_error(y, point))
    assert metrics.rmse(y, point) == pytest.approx(sk.root_mean_squared_error(y, point))
    assert metrics.wape(y, point) == pytest.approx(np.abs(y - point).sum() / y.sum())


@FEWER
@given(forecasts())
def test_unobserved_rows_change_nothing(pair) -> None:
    y, quantiles = pair
    padded, more = np.append(y, np.nan), np.vstack([quantiles, [0, 5e5, 9e9]])
    ones = np.ones(len(y))
    assert metrics.weighted_quantile_loss(padded, more, LEVELS) == metrics.weighted_quantile_loss(y, quantiles, LEVELS)
    assert metrics.bias(padded, more[:, 1]) == metrics.bias(y, quantiles[:, 1])
    assert metrics.rmse(padded, more[:, 1]) == pytest.approx(metrics.rmse(y, quantiles[:, 1]))
    assert metrics.coverage(padded, more[:, 0], more[:, 2]) == metrics.coverage(y, quantiles[:, 0], quantiles[:, 2])
    assert metrics.mase(padded, more[:, 1], np.append(ones, 1)) == metrics.mase(y, quantiles[:, 1], ones)


def test_scaled_errors_are_errors_in_units_of_the_scale() -> None:
    y, point = np.array([2.0, 4.0]), np.array([3.0, 2.0])
    assert metrics.mase(y, point, np.array([2.0, 2.0])) == pytest.approx(0.75)
    assert metrics.rmsse(y, point, np.array([4.0, 4.0])) == pytest.approx(math.sqrt(2.5 / 4))
    assert metrics.mase(y, point, np.array([0.0, 1.0])) == pytest.approx(2)


def test_bias_is_positive_where_too_much_is_forecast() -> None:
    assert metrics.bias(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == pytest.approx(0.5)


def test_market_that_sold_nothing_gives_a_finite_loss_for_a_perfect_forecast() -> None:
    assert metrics.weighted_quantile_loss(np.zeros(3), np.zeros((3, 3)), LEVELS) == 0
