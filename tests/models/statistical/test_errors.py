import numpy as np
import pytest

from pipeline.models import QUANTILES
from pipeline.models.statistical.errors import ErrorQuantiles

IDS = np.array(["a", "b", "c"])


def _errors(size=400):
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(3, size)) * np.array([[1.0], [3.0], [1.0]])
    seen = np.ones((3, size), bool)
    seen[2] = False
    return errors, seen


def test_own_quantiles_lean_on_all_series_by_their_weight():
    errors, seen = _errors()
    alone, half = (
        ErrorQuantiles.of(IDS, [(errors, seen)], lambda count, weight=weight: weight * (count > 0)).own[:, 0]
        for weight in (1.0, 0.5)
    )
    pooled = np.quantile(errors[:2], QUANTILES)
    np.testing.assert_allclose(alone[0], np.quantile(errors[0], QUANTILES))
    np.testing.assert_allclose(half[1], (np.quantile(errors[1], QUANTILES) + pooled) / 2)
    np.testing.assert_allclose(alone[2], pooled)


def test_a_lead_without_errors_has_those_of_the_lead_before():
    errors, seen = _errors()
    found = ErrorQuantiles.of(IDS, [(errors, seen), (errors, np.zeros_like(seen))], lambda count: 0 * count)
    np.testing.assert_array_equal(found.pooled[0], found.pooled[1])
    nothing = ErrorQuantiles.of(IDS, [(errors, np.zeros_like(seen))], lambda count: 0 * count)
    assert nothing.pooled[0, 4] == pytest.approx(0)
    assert nothing.pooled[0, 8] == pytest.approx(1.2816, abs=1e-4)


def test_a_series_not_measured_has_the_pooled_quantiles():
    found = ErrorQuantiles.of(IDS, [_errors()], lambda count: np.minimum(count, 1.0))
    of_two = found.of_series(np.array(["b", "z"]))
    np.testing.assert_array_equal(of_two[0], found.own[1])
    np.testing.assert_array_equal(of_two[1], found.pooled)
