"""The feature table against an oracle in SQL, which sees a panel as a table of rows and knows no array."""

from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.models.levels import Levels
from pipeline.models.tabular.features import FeatureTable
from pipeline.models.tabular.groups import Groups
from pipeline.models.tabular.regression import PlanRegression

LEVEL = {"D": 56, "W": 13}
"""Periods of the level, by frequency."""
MEANS = {"D": (7, 14, 28, 112, 364), "W": (4, 8, 26, 52)}
DECAYS = {"D": (0.8, 0.93, 0.98), "W": (0.5, 0.8, 0.95)}
MEDIANS = {"D": (28,), "W": (5, 13)}
RECENT = {"D": 28, "W": 8}
YEAR = {"D": 364, "W": 52}
AROUND = {"D": 3, "W": 1}
NEWEST = {"D": 5, "W": 6}


@pytest.fixture(scope="module", params=["D", "W"])
def panel(request, make_panel):
    drawn = make_panel(series=8, days=430, frequency=request.param)
    observed = drawn.observed.copy()
    observed[0, :370] = False
    observed[1, 20:60] = False
    observed[2, 380:] = False
    y = np.where(observed, drawn.y, 0)
    y[3, 395:425] = 0
    return replace(drawn, y=y, observed=observed)


@pytest.fixture(scope="module")
def table(panel):
    return FeatureTable(panel, Levels.of(panel, LEVEL[panel.frequency]), planned=False)


@pytest.fixture(scope="module")
def rows(panel):
    rng = np.random.default_rng(2)
    size, days = panel.y.shape
    return rng.integers(size, size=300), rng.integers(0, days, size=300), rng.integers(1, panel.horizon + 1, size=300)


@pytest.fixture(scope="module")
def database(panel, rows):
    """Return a database with the panel's history as rows, its plans, and the rows that features are wanted of."""
    size, periods = panel.y.shape
    series, period = (part.ravel() for part in np.meshgrid(np.arange(size), np.arange(periods), indexing="ij"))
    level_prior = Levels.of(panel, LEVEL[panel.frequency]).prior(panel)
    group = Groups.of(panel)
    history = {
        "s": series,
        "t": period,
        "y": panel.y.ravel().astype(float),
        "seen": panel.observed.ravel(),
        "past": panel.past[..., 0].ravel().astype(float),
        "g": group.codes[0][series],
        "prior": level_prior[series],
    }
    reach = panel.known.shape[1]
    planned, ahead = (part.ravel() for part in np.meshgrid(np.arange(size), np.arange(reach), indexing="ij"))
    plans = {"s": planned, "t": ahead, "known": panel.known[..., 0].ravel().astype(float)}
    wanted = {"row": np.arange(len(rows[0])), "s": rows[0], "o": rows[1], "h": rows[2]}
    with duckdb.connect() as connection:
        for name, columns in (("history", history), ("plans", plans), ("wanted", wanted)):
            connection.register(name, pa.table({key: pa.array(values) for key, values in columns.items()}))
        connection.execute(
            f"""CREATE TABLE levels AS SELECT row, greatest(
                (coalesce(sum(y) FILTER (seen), 0) + 3 * any_value(prior)) / (count(*) FILTER (seen) + 3), 0.02
            ) AS level FROM wanted JOIN history USING (s)
            WHERE t <= o AND t > o - {LEVEL[panel.frequency]} GROUP BY row"""
        )
        yield connection


def _check(table, rows, database, name, sql):
    """Compare a feature with what a query says of the rows; a row that it does not give is NaN."""
    found = table.table(*rows)[:, table.names.index(name)]
    expected = np.full(len(rows[0]), np.nan)
    answer = database.sql(f"SELECT row, value FROM ({sql}) WHERE value IS NOT NULL").fetchnumpy()
    expected[answer["row"]] = answer["value"]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4, err_msg=name)


def test_the_level_is_the_trailing_mean_leaning_on_its_kin(table, rows, database):
    _check(table, rows, database, "log_level", "SELECT row, ln(level) AS value FROM levels")


def test_trailing_means_and_medians(panel, table, rows, database):
    for kind, windows, call in (("mean", MEANS, "avg"), ("median", MEDIANS, "median")):
        for window in windows[panel.frequency]:
            sql = f"""SELECT row, {call}(y) / any_value(level) AS value FROM wanted JOIN levels USING (row)
                      JOIN history USING (s) WHERE t <= o AND t > o - {window} AND seen GROUP BY row"""
            _check(table, rows, database, f"{kind}_{window}", sql)


def test_decayed_means(panel, table, rows, database):
    for decay in DECAYS[panel.frequency]:
        sql = f"""SELECT row, sum(y * {decay} ** (o - t)) / sum({decay} ** (o - t)) / any_value(level) AS value
                  FROM wanted JOIN levels USING (row) JOIN history USING (s) WHERE t <= o AND seen
                  GROUP BY row HAVING sum({decay} ** (o - t)) > 1e-9"""
        _check(table, rows, database, f"decayed_{decay}", sql)


def test_the_newest_periods_and_sales(panel, table, rows, database):
    for back in range(NEWEST[panel.frequency]):
        sql = f"""SELECT row, y / level AS value FROM wanted JOIN levels USING (row) JOIN history USING (s)
                  WHERE t = o - {back} AND seen"""
        _check(table, rows, database, f"newest_{back}", sql)
    since = """SELECT row, o - coalesce(max(t) FILTER (y > 0 AND seen), -1) AS value
               FROM wanted JOIN history USING (s) WHERE t <= o GROUP BY row, o"""
    _check(table, rows, database, "since_sale", since)
    last = """SELECT row, arg_max(y, t) / any_value(level) AS value FROM wanted JOIN levels USING (row)
              JOIN history USING (s) WHERE t <= o AND y > 0 AND seen GROUP BY row"""
    _check(table, rows, database, "last_sale", last)


def test_how_often_and_how_evenly_it_sold(panel, table, rows, database):
    window = f"t <= o AND t > o - {LEVEL[panel.frequency]} AND seen"
    joined = f"FROM wanted JOIN levels USING (row) JOIN history USING (s) WHERE {window} GROUP BY row"
    _check(table, rows, database, "sold_share", f"SELECT row, avg((y > 0)::INT) AS value {joined}")
    _check(table, rows, database, "deviation", f"SELECT row, stddev_pop(y) / any_value(level) AS value {joined}")
    age = """SELECT row, count(*) FILTER (seen)::DOUBLE AS value FROM wanted JOIN history USING (s)
             WHERE t <= o GROUP BY row"""
    _check(table, rows, database, "age", age)


def test_the_same_time_of_the_year_before(panel, table, rows, database):
    year, around = YEAR[panel.frequency], AROUND[panel.frequency]
    for name, reach in (("year_last", 0), ("year_around", around), ("year_wide", 4 * around)):
        sql = f"""SELECT row, sum(CASE WHEN seen THEN y ELSE 0 END) / count(*) / any_value(level) AS value
                  FROM wanted JOIN levels USING (row) JOIN history USING (s)
                  WHERE t BETWEEN o + h - {year} - {reach} AND least(o + h - {year} + {reach}, o)
                    AND o + h - {year} - {reach} >= 0 GROUP BY row"""
        _check(table, rows, database, name, sql)


def test_weekdays(panel, table, rows, database):
    if panel.frequency == "W":
        assert not any(name.startswith("weekday") for name in table.names)
        return
    alike = "t <= o AND (o + h - t) % 7 = 0 AND t > o + h - 7 * ceil(h / 7) - 7 * {} AND seen"
    for count in (4, 8):
        sql = f"""SELECT row, avg(y) / any_value(level) AS value FROM wanted JOIN levels USING (row)
                  JOIN history USING (s) WHERE {alike.format(count)} GROUP BY row"""
        _check(table, rows, database, f"weekday_mean_{count}", sql)
    sold = f"""SELECT row, avg((y > 0)::INT) AS value FROM wanted JOIN history USING (s)
               WHERE {alike.format(8)} GROUP BY row"""
    _check(table, rows, database, "weekday_sold_share", sold)
    median = f"""SELECT row, quantile_disc(y, 0.5) / any_value(level) AS value FROM wanted JOIN levels USING (row)
                 JOIN history USING (s) WHERE {alike.format(8)} GROUP BY row"""
    _check(table, rows, database, "weekday_median", median)


def test_the_market_and_the_groups_lately(panel, table, rows, database):
    short, long = MEANS[panel.frequency][0], LEVEL[panel.frequency]
    for name, join in (("market:recent", "true"), ("group:static_0:recent", "kin.g = own.g")):
        sql = f"""
            WITH own AS (SELECT row, o, any_value(g) AS g FROM wanted JOIN history USING (s) GROUP BY row, o)
            SELECT row, (sum(kin.y) FILTER (kin.seen AND kin.t > o - {short}) / {short})
                 / greatest(sum(kin.y) FILTER (kin.seen AND kin.t > o - {long}) / {long}, 0.05) AS value
            FROM own JOIN history AS kin ON {join} AND kin.t <= o AND kin.t > o - {long} GROUP BY row"""
        _check(table, rows, database, name, sql)


def test_plans_now_before_after_and_beside_what_was_usual(panel, table, rows, database):
    at = "SELECT row, known AS value FROM wanted JOIN plans USING (s) WHERE t = {}"
    _check(table, rows, database, "known:known_0", at.format("o + h"))
    _check(table, rows, database, "known:known_0:before", at.format("o + h - 1"))
    last = f"least(o + h + 1, o + {panel.horizon}, {panel.known.shape[1] - 1})"
    _check(table, rows, database, "known:known_0:after", at.format(last))
    rise = f"""SELECT row, any_value(known) FILTER (t = o + h)
                    - avg(known) FILTER (t <= o AND t > o - {LEVEL[panel.frequency]}) AS value
               FROM wanted JOIN plans USING (s) GROUP BY row"""
    _check(table, rows, database, "known:known_0:rise", rise)


def test_covariates_of_the_past(panel, table, rows, database):
    usual = f"avg(past) FILTER (t > o - {LEVEL[panel.frequency]})"
    sql = "SELECT row, {} AS value FROM wanted JOIN history USING (s) WHERE t <= o GROUP BY row, o"
    _check(table, rows, database, "past:past_0", sql.format("any_value(past) FILTER (t = o)"))
    _check(table, rows, database, "past:past_0:usual", sql.format(usual))
    recent = f"avg(past) FILTER (t > o - {MEANS[panel.frequency][0]})"
    _check(table, rows, database, "past:past_0:rise", sql.format(f"{recent} - {usual}"))


def test_the_effect_of_a_covariate_has_the_slope_of_demand_on_it(panel, table):
    s, t = 4, 429
    window = slice(t + 1 - {"D": 182, "W": 52}[panel.frequency], t + 1)
    y, known = panel.y[s, window].astype(float), panel.known[s, window, 0].astype(float)
    slope = np.cov(known, y, bias=True)[0, 1] / known.var()
    row = table.table(np.array([s]), np.array([t]), np.array([1]))[0]
    effect = row[table.names.index("known:known_0:effect")] * np.exp(row[table.names.index("log_level")])
    assert effect == pytest.approx(slope, rel=0.15)


@pytest.mark.parametrize("planned", [False, True])
def test_features_are_deaf_to_the_future(panel, rows, planned):
    levels = Levels.of(panel, LEVEL[panel.frequency])
    series, _, lead = rows
    origin = np.full_like(series, 399)
    y, observed, past = panel.y.copy(), panel.observed.copy(), panel.past.copy()
    y[:, 400:], past[:, 400:] = 50, -1e6
    observed[:, 405:] = False
    changed = replace(panel, y=y, observed=observed, past=past)
    for call in ("table", "expected"):
        before = getattr(FeatureTable(panel, levels, planned=planned), call)(series, origin, lead)
        after = getattr(FeatureTable(changed, levels, planned=planned), call)(series, origin, lead)
        np.testing.assert_array_equal(after, before)


def test_codes_are_the_categorical_features(table):
    assert table.categorical == ("static:static_0", "static:static_1")
    assert set(table.categorical) <= set(table.names)
    assert len(set(table.names)) == len(table.names)


def test_a_forgotten_history_looks_like_that_of_a_new_item(panel):
    observed = panel.observed.copy()
    observed[5] = False
    new = replace(panel, observed=observed, y=np.where(observed, panel.y, 0))
    levels = Levels.of(new, LEVEL[panel.frequency])
    row = np.array([5]), np.array([429]), np.array([3])
    fresh, forgotten = FeatureTable(new, levels, planned=False), FeatureTable(panel, levels, planned=False)
    one, other = fresh.table(*row), forgotten.table(*row)
    for features, table in ((one, fresh), (other, forgotten)):
        table.forget(features, row[0])
    kin = [place for place, name in enumerate(fresh.names) if not name.startswith(("market:", "group:"))]
    np.testing.assert_array_equal(other[:, kin], one[:, kin])


def test_the_regression_finds_the_slopes_that_demand_was_made_with(make_panel):
    drawn = make_panel(series=40, days=150, known=2, static=0)
    rng = np.random.default_rng(1)
    price = rng.choice([0.0, -0.1, -0.3], size=drawn.known.shape[:2])
    feature = (rng.random(drawn.known.shape[:2]) < 0.2) * 1.0
    level = rng.uniform(3, 6, 40)[:, None]
    slope = rng.normal(-2.5, 0.2, 40)[:, None]
    log_y = level + slope * price + 0.8 * feature + rng.normal(0, 0.2, price.shape)
    known = np.stack([price, feature], axis=-1).astype(np.float32)
    panel = replace(
        drawn,
        y=np.exp(log_y[:, :150]).astype(np.float32),
        known=known,
        known_names=("log_price", "promotion_feature"),
    )
    assert PlanRegression.suits(panel)
    regression = PlanRegression.of(panel, Groups.of(panel))
    last = regression.slopes[:, regression.grid[-1]]
    assert last[:, 0].mean() == pytest.approx(-2.5, abs=0.12)
    assert last[:, 1].mean() == pytest.approx(0.8, abs=0.05)
    assert np.corrcoef(last[:, 0], slope[:, 0])[0, 1] > 0.5
    series, origin, lead = np.arange(40), np.full(40, 149), np.full(40, 5)
    error = regression.expected(series, origin, lead) - (log_y[:, 154] - 0)
    assert np.sqrt(np.mean(error**2)) < 0.35
    assert not PlanRegression.suits(replace(panel, y=panel.y * (rng.random(panel.y.shape) < 0.5)))
