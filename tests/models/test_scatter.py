"""Scatter: quantiles that held-out demand obeys, whatever its size."""

import numpy as np
import pytest
from scipy.stats import nbinom

from pipeline.models import QUANTILES
from pipeline.models.scatter import Scatter


@pytest.fixture
def counts():
    rng = np.random.default_rng(1)
    mean = np.exp(rng.uniform(np.log(0.2), np.log(200), 60_000))
    size = 1 / 0.4
    return rng.negative_binomial(size, size / (size + mean)).astype(float), mean


def test_quantiles_lie_above_as_many_counts_as_they_say(counts):
    y, mean = counts
    scatter = Scatter.of(y[::2], mean[::2])
    quantiles = scatter.quantiles(mean[1::2])
    came = y[1::2][:, None]
    for chosen in (mean[1::2] > 100, (mean[1::2] > 5) & (mean[1::2] < 20)):
        below = (came[chosen] < quantiles[chosen]).mean(axis=0)
        at_most = (came[chosen] <= quantiles[chosen]).mean(axis=0)
        assert (below - 0.03 <= QUANTILES).all()
        assert (at_most + 0.03 >= QUANTILES).all()


def test_the_dispersion_is_that_of_the_counts_and_quantiles_come_near_theirs(counts):
    scatter = Scatter.of(*counts)
    assert scatter.dispersion == pytest.approx(0.4, rel=0.05)
    size = 1 / 0.4
    expected = nbinom.ppf(QUANTILES, size, size / (size + 80.0))
    np.testing.assert_allclose(scatter.quantiles(np.array([80.0]))[0], expected, rtol=0.12)


def test_a_handful_of_errors_is_enough_and_nothing_falls_below_zero():
    scatter = Scatter.of(np.array([0.0, 3.0, 1.0]), np.array([1.0, 1.0, 2.0]))
    quantiles = scatter.quantiles(np.array([0.0, 0.5, 1e6]))
    assert np.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_what_was_written_is_read_again(tmp_path, counts):
    scatter = Scatter.of(*counts)
    scatter.save(tmp_path / "scatter.json")
    mean = np.array([0.5, 7.0])
    np.testing.assert_array_equal(Scatter.load(tmp_path / "scatter.json").quantiles(mean), scatter.quantiles(mean))
