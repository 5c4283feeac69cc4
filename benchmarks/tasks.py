"""Three open forecasting tasks, straight from their Parquet files: what may be known at each origin, and what came.

Online Retail II by the day and by the week, and refrigerated orange juice by the week. Nothing here uses the pipeline,
so that it is judged by the same figures as its peers. A contender is handed `Window.history` and `Window.future`; what
came is a frame of its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd

__all__ = ["LEVELS", "TASKS", "Task", "Window", "shared_data"]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The quantile levels that are asked for."""


@dataclass(frozen=True)
class Window:
    """One origin of a task: what a contender may see of it, and what came."""

    origin: date
    """The last day that is known."""
    history: pd.DataFrame
    """`unique_id, ds, y` and covariates of each period that is known; a week's `ds` is its Monday."""
    future: pd.DataFrame
    """`unique_id, ds` and the covariates known ahead, of every series and period of the horizon."""
    actual: pd.DataFrame
    """`unique_id, ds, y` of the horizon; periods of which nothing is known are missing."""


@dataclass(frozen=True)
class Task:
    """What is forecast, and how often."""

    name: str
    """Also the name of the market's file in `benchmarks/markets/`."""
    title: str
    frequency: str
    """`D` or `W`."""
    horizon: int
    """Periods."""
    last_day: date
    """The last day of the last window."""
    origins_count: int
    step: int
    """Periods between two origins."""
    read: Callable[["Task", duckdb.DuckDBPyConnection, Path], pd.DataFrame]
    """Reads the whole task: `unique_id, ds, y` and all covariates, a row for each period that is known."""
    known: tuple[str, ...] = ()
    """Covariates known ahead."""
    past: tuple[str, ...] = ()
    """Covariates known only after their period."""
    static: tuple[str, ...] = ()
    """Attributes of a series, the same in all its rows."""
    top: int | None = None
    """How many items with the most periods of sales before the first origin; all where none is given."""

    @property
    def season(self) -> int:
        """The season of the seasonal naive and of the scaled errors: 7 days; weeks have none (GluonTS's convention)."""
        return 7 if self.frequency == "D" else 1

    @property
    def period(self) -> timedelta:
        """How long a period is."""
        return timedelta(days=1 if self.frequency == "D" else 7)

    @property
    def origins(self) -> list[date]:
        """The origins, earliest first, counted back from the last day."""
        last = self.last_day - self.horizon * self.period
        return [last - number * self.step * self.period for number in reversed(range(self.origins_count))]

    def frame(self) -> pd.DataFrame:
        """Return the whole task, sorted by series and period."""
        with duckdb.connect(config={"threads": 2}) as connection:
            return self.read(self, connection, shared_data())

    def windows(self, frame: pd.DataFrame) -> list[Window]:
        """Return what there is to see at each origin of a task's frame, and what came."""
        return [self._window(frame, origin) for origin in self.origins]

    def _window(self, frame: pd.DataFrame, origin: date) -> Window:
        first = pd.Timestamp(origin) + pd.Timedelta(days=1)
        days = pd.date_range(first, periods=self.horizon, freq=self.period)
        history = frame[frame["ds"] < first]
        ahead = frame[frame["ds"].isin(days)]
        future = pd.MultiIndex.from_product([frame["unique_id"].unique(), days], names=["unique_id", "ds"])
        future = future.to_frame(index=False).merge(ahead[["unique_id", "ds", *self.known]], how="left")
        return Window(
            origin,
            history.reset_index(drop=True),
            self._filled(history, future),
            ahead[["unique_id", "ds", "y"]].reset_index(drop=True),
        )

    def _filled(self, history: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
        """Return the future with the last known value where a period says nothing of a covariate."""
        columns = ["unique_id", "ds", *self.known]
        last = history.groupby("unique_id", as_index=False).tail(1)
        both = pd.concat([last[columns], future]).sort_values(["unique_id", "ds"])
        both[list(self.known)] = both.groupby("unique_id")[list(self.known)].ffill() if self.known else []
        return both[both["ds"] >= future["ds"].min()].reset_index(drop=True)


def shared_data() -> Path:
    """Return the folder with the tasks' files: `TRENDMILL_SHARED_DATA`, or `shared/data` beside the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("TRENDMILL_SHARED_DATA") or default)


def online_retail(task: Task, connection: duckdb.DuckDBPyConnection, folder: Path) -> pd.DataFrame:
    """Return units, mean price and orders by product and period, a row for each period of the history.

    Left out are the days that the first sheet shares with the second, cancellations, sales that the same customer
    cancelled on the same day, lines without a positive quantity and price, and whatever is no product.
    """
    first = date(2009, 12, 1) if task.frequency == "D" else date(2009, 12, 7)
    cutoff = task.origins[0]
    connection.execute(
        """
        CREATE TABLE lines AS
        SELECT InvoiceNo AS invoice, upper(trim(StockCode)) AS item, Quantity AS units, UnitPrice AS price,
               CustomerID AS customer, InvoiceDate::DATE AS date
        FROM read_parquet($file)
        WHERE NOT (sheet = '2009-2010' AND InvoiceDate >= '2010-12-01')
          AND regexp_full_match(item, '[0-9]{5}[A-Z]{0,2}')
        """,
        {"file": str(folder / "online_retail_II.parquet")},
    )
    connection.execute(
        """
        CREATE TABLE sold AS
        SELECT item, $first + ((date - $first) // $days * $days)::INTEGER AS ds, sum(units) AS y,
               count(DISTINCT invoice) AS orders, sum(units * price) / sum(units) AS price
        FROM lines ANTI JOIN (
            SELECT item, date, customer, -units AS units FROM lines WHERE starts_with(invoice, 'C')
        ) USING (item, date, customer, units)
        WHERE NOT starts_with(invoice, 'C') AND units > 0 AND price > 0 AND date BETWEEN $first AND $last
        GROUP BY ALL
        """,
        {"first": first, "last": task.last_day, "days": task.period.days},
    )
    return connection.sql(
        """
        WITH items AS (
            SELECT item FROM sold WHERE ds <= $cutoff GROUP BY item ORDER BY count(*) DESC, sum(y) DESC, item LIMIT $top
        ), periods AS (
            SELECT unnest(generate_series($first, $last, to_days($days)))::DATE AS ds
        )
        SELECT item || '/all' AS unique_id, ds::TIMESTAMP AS ds, coalesce(y, 0)::DOUBLE AS y,
               coalesce(orders, 0)::DOUBLE AS orders, price
        FROM items CROSS JOIN periods LEFT JOIN sold USING (item, ds) ORDER BY ALL
        """,
        params={"cutoff": cutoff, "top": task.top, "first": first, "last": task.last_day, "days": task.period.days},
    ).df()


def orange_juice(task: Task, connection: duckdb.DuckDBPyConnection, folder: Path) -> pd.DataFrame:
    """Return units and what is planned by brand, store and week; weeks that a store does not report are missing.

    Weeks start on Thursdays and are dated by the Monday before.
    """
    return connection.sql(
        """
        SELECT brand || '/' || store AS unique_id, (week_start::DATE - 3)::TIMESTAMP AS ds, units::DOUBLE AS y,
               brand::VARCHAR AS brand, store::VARCHAR AS store, ln(price) AS price, deal::DOUBLE AS deal, feature,
               ln((sum(price) OVER aisle - price) / (count(*) OVER aisle - 1)) AS other_price
        FROM read_parquet($file) WHERE week_start <= $last
        WINDOW aisle AS (PARTITION BY store, week_start) ORDER BY unique_id, ds
        """,
        params={"file": str(folder / "orange_juice_weekly.parquet"), "last": task.last_day},
    ).df()


TASKS = {
    task.name: task
    for task in (
        Task(
            name="online_retail_daily",
            title="Online Retail II, 500 products by the day",
            frequency="D",
            horizon=14,
            last_day=date(2011, 12, 8),
            origins_count=4,
            step=7,
            read=online_retail,
            past=("price", "orders"),
            top=500,
        ),
        Task(
            name="online_retail_weekly",
            title="Online Retail II, 1,000 products by the week",
            frequency="W",
            horizon=8,
            last_day=date(2011, 12, 4),
            origins_count=3,
            step=4,
            read=online_retail,
            past=("price", "orders"),
            top=1000,
        ),
        Task(
            name="orange_juice",
            title="Refrigerated orange juice, 11 brands in 83 stores by the week",
            frequency="W",
            horizon=8,
            last_day=date(1992, 10, 4),
            origins_count=3,
            step=4,
            read=orange_juice,
            known=("price", "deal", "feature", "other_price"),
            static=("brand", "store"),
        ),
    )
}
"""Every task by its name."""
