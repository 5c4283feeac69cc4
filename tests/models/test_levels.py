from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.levels import Levels, StaticCodes, masked_quantiles, positions, trailing_sums


def test_quantiles_of_the_counted_equal_numpy_on_them():
    rng = np.random.default_rng(1)
    values, mask = rng.normal(size=(6, 40)), rng.random((6, 40)) < 0.4
    levels = (0.1, 0.5, 0.9)
    expected = [np.quantile(row[counted], levels) for row, counted in zip(values, mask, strict=True)]
    np.testing.assert_allclose(masked_quantiles(values, mask, levels), expected)


def test_quantiles_of_nothing_are_zero():
    assert (masked_quantiles(np.ones((2, 3)), np.zeros((2, 3), bool), (0.1, 0.9)) == 0).all()
    assert masked_quantiles(np.ones((2, 0)), np.zeros((2, 0), bool), (0.1, 0.9)).shape == (2, 2)


def test_differences_of_running_totals_are_window_sums():
    values = np.arange(12.0).reshape(2, 6)
    total = trailing_sums(values)
    np.testing.assert_array_equal(total[:, 5] - total[:, 2], values[:, 2:5].sum(axis=1))


def test_positions_are_found_in_any_order():
    row, known = positions(np.array(["c", "a", "b"]), np.array(["a", "z", "c"]))
    assert known.tolist() == [True, False, True]
    assert row[[0, 2]].tolist() == [1, 0]


def test_codes_follow_labels_and_survive_json(make_panel):
    panel = make_panel()
    codes = StaticCodes.of(panel)
    assert StaticCodes.from_json(codes.as_json()) == codes
    assert (codes.encode(panel) > 0).all()
    unknown = replace(panel, static=np.full_like(panel.static, 99))
    assert (codes.encode(unknown) == 0).all()


def test_an_item_without_history_has_its_groups_level(make_panel):
    panel = make_panel(series=40, days=60, static=1)
    groups = panel.static[:, 0]
    y = np.where(groups[:, None] == 0, 1.0, 9.0).astype(np.float32) * np.ones_like(panel.y)
    observed = panel.observed.copy()
    fresh = [np.flatnonzero(groups == group)[0] for group in (0, 1)]
    observed[fresh] = False
    y[fresh] = 0
    panel = replace(panel, y=y, observed=observed)
    level = Levels.of(panel, 28).at_end(panel, 28)
    assert level[fresh[0]] == pytest.approx(1, rel=0.5)
    assert level[fresh[1]] == pytest.approx(9, rel=0.2)


def test_a_long_history_outweighs_the_group(make_panel):
    panel = make_panel(series=5, days=200)
    level = Levels.of(panel, 180).at_end(panel, 180)
    np.testing.assert_allclose(level, panel.y[:, -180:].mean(axis=1), rtol=0.1)


def test_levels_survive_json(make_panel):
    panel = make_panel()
    levels = Levels.of(panel, 28)
    np.testing.assert_array_equal(Levels.from_json(levels.as_json()).prior(panel), levels.prior(panel))
