"""How facts become a panel: pick the series, place every fact at its series and period, derive covariates."""

from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS, FeedName
from pipeline.preprocess import covariates
from pipeline.preprocess.covariates import Columns
from pipeline.preprocess.demand import available_share, demand
from pipeline.preprocess.grid import Grid
from pipeline.preprocess.panel import Panel

__all__ = ["build_panel"]

UNKNOWN = "unknown"
"""The label of an attribute that the catalogue does not give."""


def build_panel(cycle: Cycle) -> Panel:
    """Return the panel of a cycle, from the facts known on its as-of day and nothing later.

    Raises:
        StageError: if no item has sold in the trailing days, or the feed `market` names an unknown region.
    """
    market = cycle.market
    sales, catalogue = _known(cycle, "sales"), _optional(cycle, "catalogue")
    grid = _grid(cycle, sales, catalogue)
    (sold,) = grid.by_day(sales, "units")
    available = available_share(grid, _optional(cycle, "stock"), sold)
    target = demand(grid, sales, sold, catalogue, available, gaps_are_zero=market.series.missing == "zero")
    past, known, shared = _covariates(cycle, grid)
    static, static_names, static_levels = _attributes(cycle, grid.series, catalogue)
    return Panel(
        unique_id=np.array([f"{item}/{location}" for item, location in _pairs(grid.series)]),
        start=grid.start,
        y=target.y,
        observed=target.observed,
        available=available,
        ends=target.ends,
        past=past.values,
        past_names=past.names,
        known=known.values,
        known_names=known.names,
        shared=shared.values,
        shared_names=shared.names,
        static=static,
        static_names=static_names,
        static_levels=static_levels,
        horizon=grid.horizon,
        frequency=market.frequency,
    )


def _known(cycle: Cycle, feed: FeedName) -> pa.Table:
    """Return a feed's facts as they were known on the as-of day."""
    return cycle.lake.as_of(feed, FEEDS[feed].key, cycle.as_of)


def _optional(cycle: Cycle, feed: FeedName) -> pa.Table | None:
    """Return the same; None where the market has no such feed."""
    return _known(cycle, feed) if feed in cycle.market.feeds else None


def _grid(cycle: Cycle, sales: pa.Table, catalogue: pa.Table | None) -> Grid:
    market = cycle.market
    series = _series(cycle, sales)
    return Grid(
        series=series.append_column("category", _categories(series, catalogue)),
        start=market.history_start,
        periods=((cycle.as_of - market.history_start).days + 1) // market.period_days,
        horizon=market.horizon,
        period_days=market.period_days,
    )


def _series(cycle: Cycle, sales: pa.Table) -> pa.Table:
    """Return item and location of the series with the most periods of sales over the trailing days, sorted by name."""
    settings = cycle.market.series
    since = cycle.as_of - timedelta(days=settings.trailing_days - 1)
    with duckdb.connect() as connection:
        connection.register("sales", sales)
        sql = """
            SELECT item, location FROM (
                SELECT item, location, count(DISTINCT (date - $start) // $period_days) AS sold,
                       sum(units::DECIMAL(18, 4)) AS units
                FROM sales WHERE date >= $since AND units > 0 GROUP BY ALL
                ORDER BY sold DESC, units DESC, item, location LIMIT $top
            ) ORDER BY item || '/' || location
        """
        parameters = {
            "since": since,
            "top": settings.top,
            "start": cycle.market.history_start,
            "period_days": cycle.market.period_days,
        }
        series = connection.sql(sql, params=parameters).to_arrow_table()
    if series.num_rows == 0:
        name = cycle.market.name
        msg = f"No item of '{name}' has sold between {since} and {cycle.as_of}, so there is nothing to forecast."
        raise StageError(msg)
    return series


def _categories(series: pa.Table, catalogue: pa.Table | None) -> pa.Array:
    """Return each series' category, null where the catalogue gives none `[S]`."""
    if catalogue is None:
        return pa.nulls(series.num_rows, pa.string())
    category = dict(zip(catalogue["item"].to_pylist(), catalogue["category"].to_pylist(), strict=True))
    return pa.array([category.get(item) for item in series["item"].to_pylist()], pa.string())


def _pairs(series: pa.Table) -> list[tuple[str, str]]:
    return list(zip(series["item"].to_pylist(), series["location"].to_pylist(), strict=True))


def _covariates(cycle: Cycle, grid: Grid) -> tuple[Columns, Columns, Columns]:
    """Return the covariates of the past, those known ahead of each series, and those that all series share."""
    market, reach = cycle.market, grid.periods + grid.horizon
    past = [Columns.of({}, (grid.size, grid.periods))]
    known = [Columns.of({}, (grid.size, reach))]
    shared = [covariates.rhythm(grid)]
    if (facts := _optional(cycle, "prices")) is not None:
        columns, planned = covariates.prices(grid, facts)
        (known if planned else past).append(columns)
    if (facts := _optional(cycle, "promotions")) is not None:
        columns = covariates.promotions(grid, facts)
        if market.plan_ahead_days < market.horizon_days:
            # Plans reach less far than forecasts, so no model may count on them: what was promoted is known afterwards.
            past.append(columns.until(grid.periods))
        else:
            known.append(columns)
    if (facts := _optional(cycle, "behaviour")) is not None:
        past.append(covariates.behaviour(grid, facts))
    if (facts := _optional(cycle, "calendar")) is not None:
        shared.append(covariates.calendar(grid, facts))
    if (facts := _optional(cycle, "market")) is not None:
        found = covariates.variables(grid, facts, market)
        for held, columns in zip((past, known, shared), found, strict=True):
            held.append(columns)
    return past[0].beside(*past[1:]), known[0].beside(*known[1:]), shared[0].beside(*shared[1:])


def _attributes(
    cycle: Cycle, series: pa.Table, catalogue: pa.Table | None
) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the hierarchy's codes `[S, C]`, its names and the labels behind the codes."""
    if catalogue is None:
        return np.zeros((series.num_rows, 0), np.int32), (), ()
    names = cycle.market.series.levels
    wanted = catalogue.filter(pc.is_in(catalogue["item"], series["item"].combine_chunks()))
    rows = {row["item"]: row for row in wanted.select(["item", *names]).to_pylist()}
    labels = [[rows.get(item, {}).get(name) or UNKNOWN for name in names] for item, _ in _pairs(series)]
    levels = tuple(tuple(sorted({UNKNOWN} | {label[column] for label in labels})) for column in range(len(names)))
    codes = [{label: code for code, label in enumerate(known)} for known in levels]
    coded = [[codes[column][label] for column, label in enumerate(row)] for row in labels]
    return np.array(coded, np.int32).reshape(series.num_rows, len(names)), tuple(names), levels
