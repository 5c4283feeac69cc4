"""How facts become dense arrays: pick the series, place every fact at its series and day, derive covariates."""

from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS, FeedName
from pipeline.preprocess.panel import Panel

__all__ = ["build_panel"]

PRICE_WINDOW_DAYS = 56
"""Trailing days whose mean price is the level that a day's price is compared with."""
HOLIDAY_REACH_DAYS = 14
"""How far a holiday's shadow reaches, before and after."""
UNKNOWN = "unknown"
"""The label of an attribute that the catalogue does not give."""


def build_panel(cycle: Cycle) -> Panel:
    """Return the panel of a cycle, from the facts known on its as-of day and nothing later.

    Raises:
        StageError: if no item has sold in the trailing days.
    """
    sales = _known(cycle, "sales")
    series = _series(cycle, sales)
    place = _Placer(series, cycle.market.history_start, (cycle.as_of - cycle.market.history_start).days + 1)
    y = place.days(sales, "units")
    sold = place.days(sales, "units", missing=np.nan)
    past, past_names = _prices(cycle, place)
    known, known_names = _promotions(cycle, place)
    if cycle.market.plan_ahead_days < cycle.market.horizon_days:
        # Plans reach less far than forecasts, so a model may not count on them: what was promoted is known afterwards.
        past = np.concatenate([past, known[:, : place.n_days]], axis=-1)
        past_names += known_names
        known, known_names = known[:, :, :0], ()
    shared, shared_names = _calendar(cycle, place.n_days + cycle.market.horizon_days)
    static, static_names, static_levels = _attributes(cycle, series)
    return Panel(
        unique_id=np.array([f"{item}/{location}" for item, location in _pairs(series)]),
        start=cycle.market.history_start,
        y=y,
        observed=_observed(sold, _open_days(sales, place)),
        past=past,
        past_names=past_names,
        known=known,
        known_names=known_names,
        shared=shared,
        shared_names=shared_names,
        static=static,
        static_names=static_names,
        static_levels=static_levels,
        horizon=cycle.market.horizon_days,
    )


class _Placer:
    """Places long facts at their series and day in dense arrays."""

    def __init__(self, series: pa.Table, start: date, n_days: int) -> None:
        self.start = start
        self.n_days = n_days
        self.n_series = series.num_rows
        self._series = series.append_column("position", pa.array(np.arange(series.num_rows)))

    def days(self, facts: pa.Table, column: str, missing: float = 0.0) -> NDArray[np.float32]:
        """Return a column of daily facts as `[S, T]`."""
        placed = self._placed(facts, f'date - $start AS day, "{column}" AS value')
        dense = np.full((self.n_series, self.n_days), missing, np.float32)
        inside = (placed["day"] >= 0) & (placed["day"] < self.n_days)
        values = np.ma.filled(placed["value"].astype(np.float32), missing)
        dense[placed["position"][inside], placed["day"][inside]] = values[inside]
        return dense

    def spans(self, facts: pa.Table, n_days: int) -> NDArray[np.float32]:
        """Return facts that hold from `start` to `end` as `[S, n_days]`, the deepest where several overlap."""
        placed = self._placed(facts, '"start" - $start AS first, "end" - $start AS last, depth AS value')
        dense = np.zeros((self.n_series, n_days), np.float32)
        longest = int((placed["last"] - placed["first"]).max(initial=-1)) + 1
        for offset in range(longest):
            day = placed["first"] + offset
            inside = (day <= placed["last"]) & (day >= 0) & (day < n_days)
            np.maximum.at(dense, (placed["position"][inside], day[inside]), placed["value"][inside].astype(np.float32))
        return dense

    def _placed(self, facts: pa.Table, columns: str) -> dict[str, NDArray[Any]]:
        with duckdb.connect() as connection:
            connection.register("facts", facts)
            connection.register("series", self._series)
            sql = f"SELECT position, {columns} FROM facts JOIN series USING (item, location)"  # noqa: S608
            return connection.sql(sql, params={"start": self.start}).fetchnumpy()


def _known(cycle: Cycle, feed: FeedName) -> pa.Table:
    return cycle.lake.as_of(feed, FEEDS[feed].key, cycle.as_of)


def _series(cycle: Cycle, sales: pa.Table) -> pa.Table:
    """Return item and location of the series with the most days of sales over the trailing days, sorted by name."""
    settings = cycle.market.series
    since = cycle.as_of - timedelta(days=settings.trailing_days - 1)
    with duckdb.connect() as connection:
        connection.register("sales", sales)
        sql = """
            SELECT item, location FROM (
                SELECT item, location, count(*) AS sold, sum(units) AS units FROM sales
                WHERE date >= $since AND units > 0 GROUP BY ALL
                ORDER BY sold DESC, units DESC, item, location LIMIT $top
            ) ORDER BY item || '/' || location
        """
        series = connection.sql(sql, params={"since": since, "top": settings.top}).to_arrow_table()
    if series.num_rows == 0:
        name = cycle.market.name
        msg = f"No item of '{name}' has sold between {since} and {cycle.as_of}, so there is nothing to forecast."
        raise StageError(msg)
    return series


def _pairs(series: pa.Table) -> list[tuple[str, str]]:
    return list(zip(series["item"].to_pylist(), series["location"].to_pylist(), strict=True))


def _open_days(sales: pa.Table, place: _Placer) -> NDArray[np.bool_]:
    """Return which days anything was sold at all: on the others the market was closed or nothing is known `[T]`."""
    with duckdb.connect() as connection:
        connection.register("sales", sales)
        sql = "SELECT DISTINCT date - $start AS day FROM sales WHERE date >= $start"
        days = connection.sql(sql, params={"start": place.start}).fetchnumpy()["day"]
    is_open = np.zeros(place.n_days, bool)
    is_open[days[days < place.n_days]] = True
    return is_open


def _observed(sold: NDArray[np.float32], is_open: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which days count: open ones from a series' first sale on `[S, T]`."""
    launched = np.maximum.accumulate(~np.isnan(sold), axis=1)
    return launched & is_open


def _prices(cycle: Cycle, place: _Placer) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return past covariates of price `[S, T, P]`: log ratio to its trailing mean, and discount off the list price."""
    if "prices" not in cycle.market.feeds:
        return np.zeros((place.n_series, place.n_days, 0), np.float32), ()
    facts = _known(cycle, "prices")
    price = _carried(place.days(facts, "price", missing=np.nan))
    list_price = _carried(place.days(facts, "list_price", missing=np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(price / _trailing_mean(price, PRICE_WINDOW_DAYS))
        discount = 1 - price / list_price
    past = np.stack([np.clip(np.nan_to_num(ratio), -3, 3), np.clip(np.nan_to_num(discount), 0, 1)], axis=-1)
    return past.astype(np.float32), ("price_ratio", "discount")


def _carried(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `[S, T]` with each gap filled by the last value before it; NaN before the first."""
    seen = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    return np.take_along_axis(values, np.maximum.accumulate(seen, axis=1), axis=1)


def _trailing_mean(values: NDArray[np.float32], window: int) -> NDArray[np.float64]:
    """Return the mean of the values present in the trailing window, the day itself included `[S, T]`."""
    present = ~np.isnan(values)
    sums = _trailing_sum(np.where(present, values, 0).astype(np.float64), window)
    return sums / np.maximum(_trailing_sum(present.astype(np.float64), window), 1)


def _trailing_sum(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    total = np.cumsum(values, axis=1)
    total[:, window:] -= total[:, :-window].copy()
    return total


def _promotions(cycle: Cycle, place: _Placer) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return depth by kind of promotion, known through the horizon `[S, T + H, K]`."""
    n_days = place.n_days + cycle.market.horizon_days
    if "promotions" not in cycle.market.feeds:
        return np.zeros((place.n_series, n_days, 0), np.float32), ()
    facts = _known(cycle, "promotions")
    kinds = sorted(set(facts["kind"].to_pylist()))
    depths = [place.spans(facts.filter(pc.equal(facts["kind"], kind)), n_days) for kind in kinds]
    empty = np.zeros((place.n_series, n_days, 0), np.float32)
    return (np.stack(depths, axis=-1) if depths else empty), tuple(kinds)


def _calendar(cycle: Cycle, n_days: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return weekday and nearness of holidays, known through the horizon `[T + H, Kc]`."""
    days = np.datetime64(cycle.market.history_start, "D") + np.arange(n_days)
    weekday = (days.astype(np.int64) + 3) % 7
    columns = {f"weekday_{number}": weekday == number for number in range(7)}
    if "calendar" in cycle.market.feeds:
        known = np.unique(_known(cycle, "calendar")["date"].to_numpy().astype("datetime64[D]"))
        columns |= {"holiday": np.isin(days, known)} | _nearness(days, known)
    return np.stack([column.astype(np.float32) for column in columns.values()], axis=-1), tuple(columns)


def _nearness(days: NDArray[np.datetime64], holidays: NDArray[np.datetime64]) -> dict[str, NDArray[np.floating]]:
    """Return how near the next and the last holiday are: 1 on the day, 0 from the reach on `[T + H]`."""
    reach = np.timedelta64(HOLIDAY_REACH_DAYS, "D")
    padded = np.concatenate([[days[0] - reach], holidays, [days[-1] + reach]])
    padded = np.sort(padded)
    following = padded[np.searchsorted(padded, days, side="left")] - days
    preceding = days - padded[np.searchsorted(padded, days, side="right") - 1]
    return {
        "before_holiday": 1 - np.minimum(following / reach, 1),
        "after_holiday": 1 - np.minimum(preceding / reach, 1),
    }


def _attributes(
    cycle: Cycle, series: pa.Table
) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the hierarchy's codes `[S, C]`, its names and the labels behind the codes."""
    if "catalogue" not in cycle.market.feeds:
        return np.zeros((series.num_rows, 0), np.int32), (), ()
    names = cycle.market.series.levels
    rows = {row["item"]: row for row in _known(cycle, "catalogue").to_pylist()}
    labels = [[rows.get(item, {}).get(name) or UNKNOWN for name in names] for item, _ in _pairs(series)]
    levels = tuple(tuple(sorted({UNKNOWN} | {label[column] for label in labels})) for column in range(len(names)))
    codes = [[levels[column].index(label) for column, label in enumerate(row)] for row in labels]
    return np.array(codes, np.int32).reshape(series.num_rows, len(names)), tuple(names), levels
