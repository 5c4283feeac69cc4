"""The feature table against an oracle that loops over the rows and looks at plain slices."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.levels import Levels
from pipeline.models.tabular.features import FeatureTable

LEVEL = {"D": 56, "W": 13}
"""Periods of the level, by frequency."""
MEANS = {"D": (7, 14, 28, 112), "W": (1, 4, 13, 26)}
RECENT = {"D": 28, "W": 8}
SEASON = {"D": 7, "W": 52}
SEASONS = {"D": (4, 8), "W": (1, 2)}


@pytest.fixture(scope="module", params=["D", "W"])
def panel(request, make_panel):
    drawn = make_panel(series=6, days=150, frequency=request.param)
    observed = drawn.observed.copy()
    observed[0, :70] = False
    observed[1, 20:60] = False
    return replace(drawn, y=np.where(observed, drawn.y, 0), observed=observed)


@pytest.fixture(scope="module")
def table(panel):
    return FeatureTable(panel, Levels.of(panel, LEVEL[panel.frequency]))


@pytest.fixture(scope="module")
def rows(panel):
    rng = np.random.default_rng(2)
    size, days = panel.y.shape
    return rng.integers(size, size=300), rng.integers(0, days, size=300), rng.integers(1, panel.horizon + 1, size=300)


def oracle(panel, prior, s, t, h):
    """Return some features of one row, from slices."""

    def seen(window):
        first = max(t + 1 - window, 0)
        return panel.y[s, first : t + 1][panel.observed[s, first : t + 1]].astype(float)

    recent, season = RECENT[panel.frequency], SEASON[panel.frequency]
    last = seen(LEVEL[panel.frequency])
    level = max((last.sum() + 3 * prior[s]) / (len(last) + 3), 0.02)
    # The panel starts on 3 January 2022: a Monday, in the year's first week.
    row = {"log_level": np.log(level), "lead": h, "season": (t + h) % season}
    for window in MEANS[panel.frequency]:
        row[f"mean_{window}"] = seen(window).mean() / level if len(seen(window)) else np.nan
    row[f"deviation_{recent}"] = seen(recent).std() / level if len(seen(recent)) else np.nan
    row[f"sold_share_{recent}"] = (seen(recent) > 0).mean() if len(seen(recent)) else np.nan
    sales = np.flatnonzero(panel.y[s, : t + 1] > 0)
    row["since_sale"] = t - sales[-1] if len(sales) else t + 1
    row["age"] = panel.observed[s, : t + 1].sum()
    alike = [period for period in range(t + h - season, -1, -season) if period <= t]
    for count in SEASONS[panel.frequency]:
        values = [panel.y[s, period] for period in alike[:count] if panel.observed[s, period]]
        row[f"season_mean_{count}"] = np.mean(values) / level if values else np.nan
    known = bool(alike) and panel.observed[s, alike[0]]
    row["season_last"] = panel.y[s, alike[0]] / level if known else np.nan
    for position, name in enumerate(panel.known_names):
        row[f"known:{name}"] = panel.known[s, t + h, position]
        row[f"known:{name}:rise"] = (
            row[f"known:{name}"] - panel.known[s, max(t + 1 - recent, 0) : t + 1, position].mean()
        )
    for position, name in enumerate(panel.past_names):
        row[f"past:{name}"] = panel.past[s, t, position]
        row[f"past:{name}:rise"] = row[f"past:{name}"] - panel.past[s, max(t + 1 - recent, 0) : t + 1, position].mean()
    for position, name in enumerate(panel.shared_names):
        row[f"shared:{name}"] = panel.shared[t + h, position]
    return row


def test_features_equal_the_oracle(panel, table, rows):
    prior = Levels.of(panel, LEVEL[panel.frequency]).prior(panel)
    found = table.table(*rows)
    for position, (s, t, h) in enumerate(zip(*rows, strict=True)):
        for name, value in oracle(panel, prior, s, t, h).items():
            np.testing.assert_allclose(
                found[position, table.names.index(name)], value, rtol=1e-4, atol=1e-4, err_msg=f"{name} {s} {t} {h}"
            )


def test_the_effect_of_a_covariate_has_the_slope_of_demand_on_it(panel, table):
    s, t = 3, 149
    window = slice(0 if panel.frequency == "D" else 150 - 52, 150)
    y, known = panel.y[s, window].astype(float), panel.known[s, window, 0].astype(float)
    slope = np.cov(known, y, bias=True)[0, 1] / known.var()
    row = table.table(np.array([s]), np.array([t]), np.array([1]))[0]
    effect = row[table.names.index("known:known_0:effect")] * np.exp(row[table.names.index("log_level")])
    assert effect == pytest.approx(slope, rel=0.15)


def test_features_are_deaf_to_the_future(panel, rows):
    levels = Levels.of(panel, LEVEL[panel.frequency])
    series, _, lead = rows
    origin = np.full_like(series, 99)
    y, observed, past = panel.y.copy(), panel.observed.copy(), panel.past.copy()
    y[:, 100:], past[:, 100:], observed[:, 100:] = 1e6, 1e6, False
    changed = replace(panel, y=y, observed=observed, past=past)
    before = FeatureTable(panel, levels).table(series, origin, lead)
    np.testing.assert_array_equal(FeatureTable(changed, levels).table(series, origin, lead), before)


def test_codes_are_the_categorical_features(table, panel):
    assert table.categorical == ("static:static_0", "static:static_1")
    assert set(table.categorical) <= set(table.names)
    assert len(set(table.names)) == len(table.names)
