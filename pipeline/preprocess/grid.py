"""Grid: the series and periods of a panel, and how long facts find their place in its dense arrays."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.bounded import bounded_duckdb
from pipeline.lake import Between
from pipeline.preprocess.facts import Facts

__all__ = ["Grid"]

_BATCH_ROWS = 64 * 1024


@dataclass(frozen=True)
class Grid:
    """S series over T periods of history and H periods ahead; every fact is placed by its day and then summed up."""

    series: pa.Table
    """`item`, `location` and `category` (null where the catalogue gives none) `[S]`."""
    start: date
    periods: int
    """T: periods of history."""
    horizon: int
    """H: periods ahead."""
    period_days: int

    @property
    def size(self) -> int:
        """S: how many series there are."""
        return self.series.num_rows

    @property
    def history_days(self) -> int:
        """Days of history: T periods."""
        return self.periods * self.period_days

    @property
    def reach_days(self) -> int:
        """Days of history and of the horizon: T + H periods."""
        return (self.periods + self.horizon) * self.period_days

    @property
    def days(self) -> NDArray[np.datetime64]:
        """All days of history and horizon `[(T + H) x days]`."""
        return np.datetime64(self.start, "D") + np.arange(self.reach_days)

    def by_day(self, facts: Facts, *columns: str, ahead: bool = False) -> list[NDArray[np.float32]]:
        """Return columns of facts that name item, location and date, each `[S, days]`, NaN where there is no value.

        Only the series' own facts are read, and each batch of them goes to its place as it comes.

        Args:
            facts: one row an item, location and date.
            columns: names of the columns of values.
            ahead: whether the days of the horizon are wanted too.
        """
        n_days = self.reach_days if ahead else self.history_days
        days = Between("date", self.start, self.start + timedelta(days=n_days - 1))
        values = ", ".join(f'"{column}"::FLOAT AS "{column}"' for column in columns)
        sql = f"SELECT position, date - $start AS day, {values} FROM facts JOIN series USING (item, location)"  # noqa: S608
        dense = [np.full((self.size, n_days), np.nan, np.float32) for _ in columns]
        with facts.opened(between=days, among=self.pairs) as connection:
            connection.register("series", self._positioned)
            for batch in connection.sql(sql, params={"start": self.start}).to_arrow_reader(_BATCH_ROWS):
                rows, at, *found = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
                for place, column in zip(dense, found, strict=True):
                    place[rows, at] = column
        return dense

    def dense(
        self, rows: NDArray[np.integer], days: NDArray[np.integer], values: NDArray[np.floating], n_days: int
    ) -> NDArray[np.float32]:
        """Return values, no two of one row and day, at their places `[rows, n_days]`, NaN where there is none."""
        dense = np.full((self.size, n_days), np.nan, np.float32)
        dense[rows, days] = values
        return dense

    def query(
        self,
        sql: str,
        connection: duckdb.DuckDBPyConnection | None = None,
        *,
        last_day: int | None = None,
        tables: Mapping[str, pa.Table] | None = None,
        **parameters: Any,  # noqa: ANN401
    ) -> dict[str, NDArray[Any]]:
        """Return what a DuckDB query says over `series` (with `position`) and more; a null number is NaN.

        Args:
            sql: the query; `$start` in it is the first day.
            connection: a database that has what the query reads; without one, a new one.
            last_day: what `$last_day` stands for.
            tables: small tables that the query reads besides, by name.
            parameters: values of the query's other `$names`.
        """
        given = parameters | {"start": self.start, "last_day": last_day}
        with nullcontext(connection) if connection is not None else bounded_duckdb() as database:
            for name, table in {**(tables or {}), "series": self._positioned}.items():
                database.register(name, table)
            found = database.sql(sql, params={name: given[name] for name in given if f"${name}" in sql})
            return {name: _without_mask(values) for name, values in found.fetchnumpy().items()}

    def summed(self, days: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return sums over each period, days without a value counting as 0 `[..., days]` -> `[..., periods]`."""
        return np.asarray(np.nan_to_num(self._folded(days)).sum(axis=-1, dtype=np.float64), np.float32)

    def averaged(self, days: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return means of the values of each period, NaN where it has none `[..., days]` -> `[..., periods]`."""
        if self.period_days == 1:
            return np.asarray(days, np.float32)
        folded = self._folded(days)
        count = (~np.isnan(folded)).sum(axis=-1)
        total = np.nan_to_num(folded).sum(axis=-1, dtype=np.float64)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)

    def highest(self, days: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the highest value of each period `[..., days]` -> `[..., periods]`."""
        return np.asarray(self._folded(days).max(axis=-1), np.float32)

    def holds_any(self, days: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether any day of each period is true `[..., days]` -> `[..., periods]`."""
        return np.asarray(self._folded(days).any(axis=-1))

    def spread(self, periods: NDArray[Any]) -> NDArray[Any]:
        """Return each period's value for all its days `[..., periods]` -> `[..., days]`."""
        return np.repeat(periods, self.period_days, axis=-1)

    def _folded(self, days: NDArray[Any]) -> NDArray[Any]:
        return days.reshape(*days.shape[:-1], -1, self.period_days)

    @cached_property
    def pairs(self) -> pa.Table:
        """Item and location of each series `[S]`."""
        return self.series.select(["item", "location"])

    @cached_property
    def _positioned(self) -> pa.Table:
        return self.series.append_column("position", pa.array(np.arange(self.size)))


def _without_mask(values: NDArray[Any]) -> NDArray[Any]:
    return np.ma.filled(values, np.nan) if values.dtype.kind == "f" else np.ma.getdata(values)
