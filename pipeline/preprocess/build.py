"""How facts become a panel: pick the series, place every fact at its series and period, derive covariates."""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FeedName
from pipeline.lake import Between
from pipeline.preprocess import covariates
from pipeline.preprocess.covariates import Columns
from pipeline.preprocess.demand import available_share, demand
from pipeline.preprocess.facts import Facts
from pipeline.preprocess.grid import Grid
from pipeline.preprocess.panel import Panel
from pipeline.preprocess.titles import title_clusters, title_vectors

__all__ = ["build_panel"]

UNKNOWN = "unknown"
"""The label of an attribute that the catalogue does not give."""


def build_panel(cycle: Cycle, feeds: Mapping[FeedName, Facts]) -> Panel:
    """Return the panel of a cycle.

    Only of the chosen series is anything read row by row; what concerns all items comes summed up.

    Args:
        cycle: the cycle.
        feeds: what is known of each feed on its as-of day; feeds other than sales may be missing.

    Raises:
        StageError: if no item has sold in the trailing days, or the feed `market` names an unknown region.
    """
    market, sales = cycle.market, feeds["sales"]
    series = _series(cycle, sales)
    catalogue = _catalogue(cycle, series, feeds.get("catalogue"))
    grid = _grid(cycle, series, catalogue)
    (sold,) = grid.by_day(sales, "units")
    available = available_share(grid, feeds.get("stock"), sold)
    target = demand(
        grid, _trading(sales, grid.pairs), sold, catalogue, available, gaps_are_zero=market.series.missing == "zero"
    )
    past, known, shared = _covariates(cycle, grid, feeds)
    titles = title_vectors(_titles(grid.series, catalogue))
    static, static_names, static_levels = _coded(_attributes(cycle, grid.series, catalogue, titles), grid.size)
    return Panel(
        unique_id=np.array([f"{item}/{location}" for item, location in _pairs(grid.series)]),
        start=grid.start,
        y=target.y,
        observed=target.observed,
        at_least=target.at_least,
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
        traits=titles,
        trait_names=tuple(f"title_{number}" for number in range(titles.shape[1])),
        horizon=grid.horizon,
        frequency=market.frequency,
    )


def _series(cycle: Cycle, sales: Facts) -> pa.Table:
    """Return item and location of the series with the most periods of sales over the trailing days, sorted by name."""
    settings = cycle.market.series
    since = cycle.as_of - timedelta(days=settings.trailing_days - 1)
    sql = """
        SELECT item, location FROM (
            SELECT item, location, count(DISTINCT (date - $start) // $period_days) AS sold,
                   sum(units::DECIMAL(18, 4)) AS units
            FROM facts WHERE units > 0 GROUP BY ALL
            ORDER BY sold DESC, units DESC, item, location LIMIT $top
        ) ORDER BY item || '/' || location
    """
    series = sales.query(
        sql,
        between=Between("date", since, date.max),
        top=settings.top,
        start=cycle.market.history_start,
        period_days=cycle.market.period_days,
    )
    if series.num_rows == 0:
        name = cycle.market.name
        msg = f"No item of '{name}' has sold between {since} and {cycle.as_of}, so there is nothing to forecast."
        raise StageError(msg)
    return series


def _catalogue(cycle: Cycle, series: pa.Table, catalogue: Facts | None) -> pa.Table | None:
    """Return what the catalogue says of the series' items."""
    columns = dict.fromkeys(["item", "title", "category", "launched", "discontinued", *cycle.market.series.levels])
    return None if catalogue is None else catalogue.read(list(columns), among=series.select(["item"]))


def _grid(cycle: Cycle, series: pa.Table, catalogue: pa.Table | None) -> Grid:
    market = cycle.market
    return Grid(
        series=series.append_column("category", _categories(series, catalogue)),
        start=market.history_start,
        periods=((cycle.as_of - market.history_start).days + 1) // market.period_days,
        horizon=market.horizon,
        period_days=market.period_days,
    )


def _trading(sales: Facts, chosen: pa.Table) -> pa.Table:
    """Return location and date of each day on which any item has a row of sales there.

    Of most days the chosen series tell. Only where they do not, what is known of all the others is made out.
    """
    days = "SELECT DISTINCT location, date FROM facts"
    told = sales.query(days, among=chosen)
    with sales.opened() as connection:
        connection.register("told", told)
        sql = """
            SELECT DISTINCT location, date FROM revisions ANTI JOIN told USING (location, date)
            WHERE known_on <= $day AND NOT deleted
        """
        doubtful = connection.sql(sql, params={"day": sales.day}).to_arrow_table()
    return pa.concat_tables([told, sales.query(days, among=doubtful)])


def _categories(series: pa.Table, catalogue: pa.Table | None) -> pa.Array:
    """Return each series' category, null where the catalogue gives none `[S]`."""
    if catalogue is None:
        return pa.nulls(series.num_rows, pa.string())
    category = dict(zip(catalogue["item"].to_pylist(), catalogue["category"].to_pylist(), strict=True))
    return pa.array([category.get(item) for item in series["item"].to_pylist()], pa.string())


def _pairs(series: pa.Table) -> list[tuple[str, str]]:
    return list(zip(series["item"].to_pylist(), series["location"].to_pylist(), strict=True))


def _covariates(cycle: Cycle, grid: Grid, feeds: Mapping[FeedName, Facts]) -> tuple[Columns, Columns, Columns]:
    """Return the covariates of the past, those known ahead of each series, and those that all series share."""
    market, reach = cycle.market, grid.periods + grid.horizon
    past = [covariates.orders(grid, feeds["sales"])]
    known = [Columns.of({}, (grid.size, reach))]
    shared = [covariates.rhythm(grid)]
    if (facts := feeds.get("prices")) is not None:
        columns, planned = covariates.prices(grid, facts)
        (known if planned else past).append(columns)
    if (facts := feeds.get("promotions")) is not None:
        columns = covariates.promotions(grid, facts)
        if market.plan_ahead_days < market.horizon_days:
            # Plans reach less far than forecasts, so no model may count on them: what was promoted is known afterwards.
            past.append(columns.until(grid.periods))
        else:
            known.append(columns)
    if (facts := feeds.get("behaviour")) is not None:
        past.append(covariates.behaviour(grid, facts))
    if (facts := feeds.get("calendar")) is not None:
        shared.append(covariates.calendar(grid, facts))
    if (facts := feeds.get("market")) is not None:
        found = covariates.variables(grid, facts, market)
        for held, columns in zip((past, known, shared), found, strict=True):
            held.append(columns)
    return past[0].beside(*past[1:]), known[0].beside(*known[1:]), shared[0].beside(*shared[1:])


def _titles(series: pa.Table, catalogue: pa.Table | None) -> list[str]:
    """Return each series' title, empty where the catalogue gives none."""
    if catalogue is None:
        return [""] * series.num_rows
    titles = dict(zip(catalogue["item"].to_pylist(), catalogue["title"].to_pylist(), strict=True))
    return [titles.get(item) or "" for item in series["item"].to_pylist()]


def _attributes(
    cycle: Cycle, series: pa.Table, catalogue: pa.Table | None, titles: NDArray[np.float32]
) -> dict[str, list[str]]:
    """Return the labels of each series by attribute, from the widest to the narrowest.

    They are the catalogue's hierarchy, the cluster of the title, and where series differ in both, location and item.
    """
    found: dict[str, list[str]] = {}
    pairs = _pairs(series)
    if catalogue is not None:
        rows = {row["item"]: row for row in catalogue.to_pylist()}
        for name in cycle.market.series.levels:
            found[name] = [rows.get(item, {}).get(name) or UNKNOWN for item, _ in pairs]
    if titles.shape[1]:
        found["title_cluster"] = [f"cluster {number:02}" for number in title_clusters(titles)]
    items, locations = ({pair[side] for pair in pairs} for side in (0, 1))
    if len(locations) > 1 and len(items) < len(pairs):
        found["location"] = [location for _, location in pairs]
        found["item"] = [item for item, _ in pairs]
    return found


def _coded(
    labels: Mapping[str, list[str]], size: int
) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the labels' codes `[S, C]`, the attributes' names and the labels behind the codes."""
    levels = tuple(tuple(sorted({UNKNOWN, *given})) for given in labels.values())
    codes = np.zeros((size, len(labels)), np.int32)
    for column, (given, known) in enumerate(zip(labels.values(), levels, strict=True)):
        code = {label: number for number, label in enumerate(known)}
        codes[:, column] = [code[label] for label in given]
    return codes, tuple(labels), levels
