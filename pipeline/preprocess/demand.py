"""What was demanded and what of it counts: sales by period, an item's life, and days on which it was out of stock."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.preprocess.facts import Facts
from pipeline.preprocess.grid import Grid
from pipeline.preprocess.panel import NEVER

__all__ = ["LEAST_IN_STOCK_SHARE", "Demand", "available_share", "demand"]

LEAST_IN_STOCK_SHARE = 0.5
"""A period in which a series could be bought for less than this share of the time tells no demand."""

Days = NDArray[np.floating]


@dataclass(frozen=True)
class Demand:
    """The target and which of its periods count."""

    y: NDArray[np.float32]
    """0 where not observed `[S, T]`."""
    observed: NDArray[np.bool_]
    """`[S, T]`"""
    at_least: NDArray[np.float32]
    """Units sold while a series was out of stock: demand was at least as much; 0 elsewhere `[S, T]`."""
    ends: NDArray[np.int32]
    """First period in which a series is sold no more, or `NEVER` `[S]`."""


def demand(
    grid: Grid, trading: pa.Table, sold: Days, catalogue: pa.Table | None, available: Days, *, gaps_are_zero: bool
) -> Demand:
    """Return demand by period and which periods are observed.

    A period counts from a series' launch to its end, if the series was in stock, and if the market was open on any day
    of it, or, where gaps are unknown, if the series has a row in it. Where the catalogue gives no launch, a series is
    launched with its first sale.

    Args:
        grid: series and periods.
        trading: location and date of each day on which any item has a row of sales there.
        sold: units by day, NaN where there is no row `[S, days]`.
        catalogue: what is known of the items, where there is such a feed.
        available: share of each period for which the series could be bought `[S, T]`.
        gaps_are_zero: whether a period without a row is a period without sales.
    """
    has_row = grid.holds_any(~np.isnan(sold))
    known = grid.holds_any(_open_days(grid, trading)) if gaps_are_zero else has_row
    begins, ends = _lives(grid, trading, has_row, catalogue)
    period = np.arange(grid.periods)
    alive = (period >= begins[:, None]) & (period < ends[:, None])
    in_stock = available >= LEAST_IN_STOCK_SHARE
    units = grid.summed(sold)
    observed = known & alive & in_stock
    at_least = np.where(known & alive & ~in_stock, np.maximum(units, 0), 0)
    return Demand(np.where(observed, units, 0).astype(np.float32), observed, at_least.astype(np.float32), ends)


def available_share(grid: Grid, stock: Facts | None, sold: Days) -> NDArray[np.float32]:
    """Return for what share of each period a series could be bought, 1 where nothing tells `[S, T]`.

    A day has the share that the feed gives. Where it gives only what was on hand, a day that ends with nothing and on
    which nothing was sold counts as out of stock; a single row in a week speaks of the whole week.
    """
    if stock is None:
        return np.ones((grid.size, grid.periods), np.float32)
    on_hand, share = grid.by_day(stock, "on_hand", "in_stock_share")
    told = ~(np.isnan(on_hand) & np.isnan(share))
    alone = grid.spread(grid.summed(told.astype(np.float32)) == 1)
    was_sold = np.where(alone, grid.spread(grid.summed(sold) > 0), sold > 0)
    by_hand = np.where((on_hand <= 0) & ~was_sold, 0.0, np.where(told, 1.0, np.nan))
    days = np.where(np.isnan(share), by_hand, np.clip(share, 0, 1))
    return np.nan_to_num(grid.averaged(days), nan=1.0)


def _open_days(grid: Grid, trading: pa.Table) -> NDArray[np.bool_]:
    """Return on which days anything was sold: on the others the market was closed or nothing is known `[days]`."""
    sql = "SELECT DISTINCT date - $start AS day FROM trading WHERE day BETWEEN 0 AND $last_day"
    is_open = np.zeros(grid.history_days, bool)
    is_open[grid.query(sql, last_day=grid.history_days - 1, tables={"trading": trading})["day"]] = True
    return is_open


def _lives(
    grid: Grid, trading: pa.Table, has_row: NDArray[np.bool_], catalogue: pa.Table | None
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return the first period of each series, and the first one after its end, both `[S]`.

    No item is launched at a location before the location has sold anything.
    """
    begins = np.where(has_row.any(axis=1), has_row.argmax(axis=1), grid.periods)
    ends = np.full(grid.size, NEVER, np.int32)
    if catalogue is None:
        return begins, ends
    sql = """
        SELECT position, launched - $start AS launched, opened - $start AS opened, discontinued - $start AS discontinued
        FROM series JOIN catalogue USING (item)
        JOIN (SELECT location, min(date) AS opened FROM trading GROUP BY location) USING (location)
        WHERE {} IS NOT NULL
    """
    tables = {"catalogue": catalogue, "trading": trading}
    launched = grid.query(sql.format("launched"), tables=tables)
    first_day = np.maximum(launched["launched"], launched["opened"])
    begins[launched["position"]] = np.maximum(first_day // grid.period_days, 0)
    ended = grid.query(sql.format("discontinued"), tables=tables)
    ends[ended["position"]] = np.maximum(-(-(ended["discontinued"] + 1) // grid.period_days), 0)
    return begins, ends
