import numpy as np
import pytest
from scipy.stats import nbinom

from pipeline.models import QUANTILES
from pipeline.models.counts import CountSpread


@pytest.mark.parametrize("dispersion", [0.1, 0.5, 2.0])
def test_the_dispersion_that_drew_the_counts_is_found(dispersion):
    rng = np.random.default_rng(3)
    size = 1 / dispersion
    mean = rng.uniform(2, 8, 60_000)
    y = rng.negative_binomial(size, size / (size + mean))
    spread = CountSpread.of(np.array(["a", "b"]), rng.integers(2, size=len(y)), y, mean)
    np.testing.assert_allclose(spread.dispersion, dispersion, rtol=0.1)


def test_few_counts_lean_on_all(make_panel):
    rng = np.random.default_rng(4)
    series = np.r_[np.zeros(5000, int), np.ones(3, int)]
    y = np.r_[rng.negative_binomial(2, 0.2, 5000), [8, 8, 8]].astype(float)
    spread = CountSpread.of(np.array(["many", "few"]), series, y, np.full(len(y), 8.0))
    assert abs(spread.dispersion[1] - spread.pooled) < 0.5 * spread.pooled


def test_quantiles_are_the_smallest_counts_that_reach_the_level(make_panel):
    panel = make_panel(series=2)
    spread = CountSpread(panel.unique_id, np.array([0.3, 1.0]), 0.5)
    mean = np.array([[0.2, 3.0], [15.0, 0.0]])
    quantiles = spread.quantiles(panel, mean)
    for row, size in enumerate(1 / spread.dispersion):
        for day in range(2):
            p = size / (size + max(mean[row, day], 1e-6))
            reached = nbinom.cdf(quantiles[row, day], size, p) >= np.array(QUANTILES) - 1e-9
            below = nbinom.cdf(quantiles[row, day] - 1, size, p) < np.array(QUANTILES)
            assert reached.all()
            assert below.all()


def test_a_stranger_has_the_pooled_dispersion(make_panel):
    panel = make_panel(series=1)
    stranger = CountSpread(np.array(["other"]), np.array([9.0]), 0.4)
    own = CountSpread(panel.unique_id, np.array([0.4]), 9.0)
    mean = np.array([[1.0, 5.0, 20.0]])
    np.testing.assert_array_equal(stranger.quantiles(panel, mean), own.quantiles(panel, mean))


def test_the_spread_survives_json(make_panel):
    panel = make_panel(series=3)
    spread = CountSpread(panel.unique_id, np.array([0.3, 1.0, 2.0]), 0.5)
    mean = np.full((3, 4), 2.5)
    np.testing.assert_array_equal(
        CountSpread.from_json(spread.as_json()).quantiles(panel, mean), spread.quantiles(panel, mean)
    )
