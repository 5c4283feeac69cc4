"""What may explain demand: prices, promotions, behaviour, the market's variables and the calendar."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.bounded import listed
from pipeline.errors import StageError
from pipeline.feeds import ANY
from pipeline.lake import Between
from pipeline.market import Market, VariableSettings
from pipeline.preprocess.facts import Facts
from pipeline.preprocess.grid import Grid

__all__ = ["Columns", "behaviour", "calendar", "orders", "prices", "promotions", "rhythm", "variables"]

PRICE_WINDOW_DAYS = 56
"""Trailing days whose mean price is the level that a period's price is compared with."""
EVENT_REACH_DAYS = 14
"""How far an event's shadow reaches, before and after."""
ALWAYS_THERE = "public_holiday"
"""The kind of event that has its columns even where none is known."""
_WIDEST_LOG_RATIO = 3.0
_YEAR_DAYS = 365.25

Floats = NDArray[np.floating]
Dates = NDArray[np.datetime64]


@dataclass(frozen=True)
class Columns:
    """Covariates by name, in the order in which a panel holds them."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    """`[S, T, K]` or `[S, T + H, K]`; of those that all series share `[T + H, K]`."""

    @classmethod
    def of(cls, columns: Mapping[str, Floats], shape: Sequence[int]) -> Self:
        """Return columns of one shape; where there are none, an array of no width."""
        values = np.empty((*shape, len(columns)), np.float32)
        for position, column in enumerate(columns.values()):
            values[..., position] = column
        return cls(tuple(columns), values)

    def until(self, periods: int) -> "Columns":
        """Return the first periods of columns of series."""
        return Columns(self.names, self.values[:, :periods])

    def beside(self, *others: "Columns") -> "Columns":
        """Return these columns and then the others'."""
        found = [self, *others]
        names = tuple(name for columns in found for name in columns.names)
        return Columns(names, np.concatenate([columns.values for columns in found], axis=-1))


def prices(grid: Grid, facts: Facts) -> tuple[Columns, bool]:
    """Return the price as a logarithm, its log ratio to its trailing mean, the discount, and if they are planned.

    Planned prices that reach the last period of the horizon are known ahead `[S, T + H, 3]`; others are of the past
    `[S, T, 3]`. A period has the mean of its days' prices, or the price before it. The discount is off the list price.
    """
    planned = _reaches(grid, facts)
    price, list_price = (
        _carried(grid.averaged(days)) for days in grid.by_day(facts, "price", "list_price", ahead=planned)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_price = np.log(price)
        ratio = np.log(price / _trailing_mean(price, PRICE_WINDOW_DAYS // grid.period_days))
        discount = 1 - price / list_price
    columns = {
        "log_price": np.nan_to_num(log_price, neginf=0),
        "price_ratio": np.clip(np.nan_to_num(ratio), -_WIDEST_LOG_RATIO, _WIDEST_LOG_RATIO),
        "discount": np.clip(np.nan_to_num(discount), 0, 1),
    }
    return Columns.of(columns, price.shape), planned


def promotions(grid: Grid, facts: Facts) -> Columns:
    """Return the depth by kind of promotion, the deepest where several overlap, `[S, T + H, K]`.

    A promotion is about an item or a category, at a location, or about every one of them (`*`). A week has the mean
    of its days' depths.
    """
    sql = f"""
        SELECT position, day, kind, max(depth)::FLOAT AS value FROM (
            SELECT position, kind, depth,
                   unnest(range(greatest("start" - $start, 0), least("end" - $start, $last_day) + 1)) AS day
            FROM facts JOIN (
                SELECT position, item, unnest(['{ANY}', location]) AS location, category AS own FROM (
                    SELECT position, unnest(['{ANY}', item]) AS item, location, category FROM series
                )
            ) USING (item, location) WHERE facts.category IN ('{ANY}', own)
        ) GROUP BY ALL
    """  # noqa: S608 - a constant
    kinds = facts.query("SELECT DISTINCT kind FROM facts")["kind"].to_pylist()
    with facts.opened(among=grid.pairs) as connection:
        found = grid.query(sql, connection, last_day=grid.reach_days - 1)
    columns = {}
    for kind in sorted(kinds):
        chosen = found["kind"] == kind
        rows, days, depth = (found[name][chosen] for name in ("position", "day", "value"))
        columns[f"promotion_{kind}"] = grid.averaged(np.nan_to_num(grid.dense(rows, days, depth, grid.reach_days)))
    return Columns.of(columns, (grid.size, grid.periods + grid.horizon))


def orders(grid: Grid, sales: Facts) -> Columns:
    """Return log(1 + number of orders), where the source counts them `[S, T, P]`."""
    if not sales.query("SELECT count(orders) AS counted FROM facts")["counted"][0].as_py():
        return Columns.of({}, (grid.size, grid.periods))
    (days,) = grid.by_day(sales, "orders")
    return Columns.of({"orders": np.log1p(grid.summed(days))}, (grid.size, grid.periods))


def behaviour(grid: Grid, facts: Facts) -> Columns:
    """Return log(1 + count) of what visitors did, of those counts that the source gives, `[S, T, P]`."""
    counted = ("views", "cart_adds", "favourites", "searches", "visitors")
    values = facts.query(f"SELECT {', '.join(f'count({name}) AS {name}' for name in counted)} FROM facts")  # noqa: S608
    given = [name for name in counted if values[name][0].as_py()]
    counts = zip(given, grid.by_day(facts, *given), strict=True) if given else ()
    columns = {name: np.log1p(np.maximum(grid.summed(days), 0)) for name, days in counts}
    return Columns.of(columns, (grid.size, grid.periods))


def variables(grid: Grid, facts: Facts, market: Market) -> tuple[Columns, Columns, Columns]:
    """Return the market's variables: of the past `[S, T, P]`, known of series `[S, T + H, K]`, shared `[T + H, Kc]`.

    A row is about a region, a location, an item, or every one of them (`*`); where several rows are about a series
    and day, the one that names most closely what it is about counts. A week has the mean of its days' values.

    Raises:
        StageError: if a row names a region that the market maps to no locations.
    """
    past, known, shared = {}, {}, {}
    for name, everywhere, own in _told(grid, facts, market):
        settings = market.variables[name]
        ahead = settings.known == "ahead"
        if own is None and ahead:
            shared[f"market_{name}"] = _filled(grid, everywhere, settings)
            continue
        days = np.broadcast_to(everywhere, (grid.size, grid.reach_days))
        values = days if own is None else np.where(np.isnan(own), days, own)
        if ahead:
            known[f"market_{name}"] = _filled(grid, values, settings)
        else:
            past[f"market_{name}"] = _filled(grid, values[:, : grid.history_days], settings)
    reach = grid.periods + grid.horizon
    return (
        Columns.of(past, (grid.size, grid.periods)),
        Columns.of(known, (grid.size, reach)),
        Columns.of(shared, (reach,)),
    )


def rhythm(grid: Grid) -> Columns:
    """Return what tells periods apart: a day's weekday, or where in the year a week lies, `[T + H, Kc]`."""
    if grid.period_days == 1:
        weekday = (grid.days.astype(np.int64) + 3) % 7
        columns: dict[str, Floats] = {f"weekday_{number}": (weekday == number) * 1.0 for number in range(7)}
    else:
        middle = grid.days[grid.period_days // 2 :: grid.period_days]
        day_of_year = (middle - middle.astype("datetime64[Y]")).astype(np.float64)
        angle = 2 * np.pi * day_of_year / _YEAR_DAYS
        columns = {"year_sin": np.sin(angle), "year_cos": np.cos(angle)}
    return Columns.of(columns, (grid.periods + grid.horizon,))


def calendar(grid: Grid, facts: Facts) -> Columns:
    """Return for each kind of event how many days of a period have one and how near one is, `[T + H, Kc]`.

    Nearness is 1 on the day and falls to 0 at the reach, before and after an event; a week has its nearest day's.
    """
    found = facts.read(["kind", "date"])
    kinds = found["kind"].to_numpy(zero_copy_only=False)
    days = found["date"].to_numpy().astype("datetime64[D]")
    columns: dict[str, Floats] = {}
    for kind in (ALWAYS_THERE, *sorted(set(kinds) - {ALWAYS_THERE})):
        events = np.unique(days[kinds == kind])
        before, after = _nearness(grid.days, events)
        columns[kind] = grid.summed(np.isin(grid.days, events) * 1.0)
        columns |= {f"before_{kind}": grid.highest(before), f"after_{kind}": grid.highest(after)}
    return Columns.of(columns, (grid.periods + grid.horizon,))


def _reaches(grid: Grid, facts: Facts) -> bool:
    """Return whether the facts of any series reach the horizon's last period."""
    since = grid.start + timedelta(days=grid.reach_days - grid.period_days)
    with facts.opened(between=Between("date", since, date.max), among=grid.pairs) as connection:
        found = grid.query("SELECT count(*) AS rows_there FROM facts JOIN series USING (item, location)", connection)
    return bool(found["rows_there"][0])


def _carried(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `[..., T]` with each gap filled by the last value before it; NaN before the first."""
    seen = np.where(np.isnan(values), 0, np.arange(values.shape[-1]))
    return np.take_along_axis(values, np.maximum.accumulate(seen, axis=-1), axis=-1)


def _trailing_mean(values: NDArray[np.float32], window: int) -> NDArray[np.float64]:
    """Return the mean of the values present in the trailing window, the period itself included `[S, T]`."""
    present = ~np.isnan(values)
    sums = _trailing_sum(np.where(present, values, 0).astype(np.float64), window)
    return sums / np.maximum(_trailing_sum(present.astype(np.float64), window), 1)


def _trailing_sum(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    total = np.cumsum(values, axis=1)
    total[:, window:] -= total[:, :-window].copy()
    return total


def _named_closely(facts: Facts, market: Market) -> set[str]:
    """Return the variables of which a row names an item, a location or a region, of whatever series.

    Raises:
        StageError: if a row names a region that the market maps to no locations.
    """
    sql = f"""
        SELECT DISTINCT variable, region, location <> '{ANY}' OR item <> '{ANY}' AS named
        FROM facts WHERE variable IN ({listed(market.variables)})
    """  # noqa: S608 - constants and a market's own names
    rows = facts.query(sql).to_pylist()
    unknown = sorted({row["region"] for row in rows} - {ANY, *market.regions})
    if unknown:
        msg = (
            f"The feed 'market' of '{market.name}' speaks of the region '{unknown[0]}', which has no locations; "
            f"add '{unknown[0]}: [its locations]' under 'regions' in the market's file."
        )
        raise StageError(msg)
    return {row["variable"] for row in rows if row["named"] or row["region"] != ANY}


def _told(
    grid: Grid, facts: Facts, market: Market
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32] | None]]:
    """Yield of each variable what is told of every series `[days]` and of single ones `[S, days]`, NaN where nothing.

    None stands for the latter where no row of the variable names anything closely, not even of other series.
    """
    named = _named_closely(facts, market)
    with facts.opened(among=grid.pairs) as connection:
        connection.register("regions", _places(market))
        # Kept for all variables: the table of revisions is read once.
        connection.execute("CREATE TEMP TABLE kept AS SELECT variable, region, location, item, date, value FROM facts")
        for name in market.variables:
            rows = f"SELECT * FROM kept WHERE variable = {listed([name])}"  # noqa: S608 - the market's own names
            connection.execute(f"CREATE OR REPLACE TEMP VIEW told AS {rows}")
            yield name, _general(grid, connection), _specific(grid, connection) if name in named else None


def _places(market: Market) -> pa.Table:
    """Return the regions' locations, a row each."""
    pairs = [(region, location) for region, places in market.regions.items() for location in places]
    return pa.table(
        {
            "region": pa.array([region for region, _ in pairs], pa.string()),
            "place": pa.array([location for _, location in pairs], pa.string()),
        }
    )


def _general(grid: Grid, connection: duckdb.DuckDBPyConnection) -> NDArray[np.float32]:
    """Return what the rows in `told` say of every series, NaN where nothing `[days]`."""
    sql = f"""
        SELECT 0 AS position, date - $start AS day, value::FLOAT AS value FROM told
        WHERE item = '{ANY}' AND location = '{ANY}' AND region = '{ANY}' AND day BETWEEN 0 AND $last_day
    """  # noqa: S608 - a constant
    found = grid.query(sql, connection, last_day=grid.reach_days - 1)
    return np.asarray(grid.dense(found["position"], found["day"], found["value"], grid.reach_days)[0])


def _specific(grid: Grid, connection: duckdb.DuckDBPyConnection) -> NDArray[np.float32]:
    """Return what the rows in `told` say of single series, NaN where nothing `[S, days]`.

    Each layer is as high as there are locations or items to tell apart, and lies over the one before it.
    """
    values = np.full((grid.size, grid.reach_days), np.nan, np.float32)
    for keys in (("location",), ("item",), ("item", "location")):
        layer = _layer(grid, connection, keys)
        if layer is not None:
            values = np.where(np.isnan(layer), values, layer)
    return values


def _layer(grid: Grid, connection: duckdb.DuckDBPyConnection, keys: tuple[str, ...]) -> NDArray[np.float32] | None:
    """Return what the rows say that name exactly these keys, a region standing for its locations `[S, days]`.

    None where they say nothing.
    """
    named = " AND ".join(f"{key} {'<>' if key in keys else '='} '{ANY}'" for key in ("item", "location"))
    rank = f"dense_rank() OVER (ORDER BY {', '.join(keys)}) - 1"
    sql = f"""
        WITH placed AS (
            SELECT item, CASE WHEN location = '{ANY}' THEN coalesce(place, '{ANY}') ELSE location END AS location,
                   date - $start AS day, value, location <> '{ANY}' AS by_location, told.region
            FROM told LEFT JOIN regions ON told.region = regions.region
            WHERE (told.region = '{ANY}' OR (place IS NOT NULL AND location IN ('{ANY}', place)))
              AND day BETWEEN 0 AND $last_day
        ), codes AS (
            SELECT DISTINCT {", ".join(keys)}, {rank} AS code FROM series
        )
        SELECT code, day, value::FLOAT AS value FROM placed JOIN codes USING ({", ".join(keys)}) WHERE {named}
        QUALIFY row_number() OVER (PARTITION BY code, day ORDER BY by_location DESC, region <> '{ANY}' DESC, region) = 1
    """  # noqa: S608 - constants
    found = grid.query(sql, connection, last_day=grid.reach_days - 1)
    if not len(found["code"]):
        return None
    codes = grid.query(f"SELECT {rank} AS code FROM series ORDER BY position")["code"]  # noqa: S608
    return grid.dense(found["code"], found["day"], found["value"], grid.reach_days)[codes]


def _filled(grid: Grid, days: NDArray[np.float32], settings: VariableSettings) -> NDArray[np.float32]:
    """Return values by period, gaps filled by the variable's rule; 0 where there is no value before."""
    periods = grid.averaged(days)
    return np.nan_to_num(_carried(periods) if settings.fill == "last" else periods)


def _nearness(days: Dates, events: Dates) -> tuple[Floats, Floats]:
    """Return how near the next and the last event are: 1 on the day, 0 from the reach on, each `[days]`."""
    reach = np.timedelta64(EVENT_REACH_DAYS, "D")
    padded = np.sort(np.concatenate([[days[0] - reach], events, [days[-1] + reach]]))
    following = padded[np.searchsorted(padded, days, side="left")] - days
    preceding = days - padded[np.searchsorted(padded, days, side="right") - 1]
    return 1 - np.minimum(following / reach, 1), 1 - np.minimum(preceding / reach, 1)
