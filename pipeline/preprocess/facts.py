"""Facts of the market's feeds as a cycle may know them: each feed in one version of its table, read when asked for."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.cycle import Cycle
from pipeline.feeds import FEEDS, FeedName
from pipeline.lake import Between, Lake

__all__ = ["Facts", "facts_of", "versions_of"]


@dataclass(frozen=True)
class Facts:
    """A feed's facts as they were known on a day, in one version of their table."""

    lake: Lake
    feed: FeedName
    day: date
    version: int

    def opened(
        self, *, between: Between | None = None, among: pa.Table | None = None
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open a database of bounded memory in which these are `facts`; see `Lake.known`."""
        key = FEEDS[self.feed].key
        return self.lake.known(self.feed, key, self.day, version=self.version, between=between, among=among)

    def query(
        self,
        sql: str,
        *,
        between: Between | None = None,
        among: pa.Table | None = None,
        **parameters: Any,  # noqa: ANN401
    ) -> pa.Table:
        """Return what a query says over these `facts`."""
        with self.opened(between=between, among=among) as connection:
            return connection.sql(sql, params=parameters).to_arrow_table()

    def read(self, columns: Sequence[str], *, among: pa.Table | None = None) -> pa.Table:
        """Return some columns of these facts."""
        key = FEEDS[self.feed].key
        return self.lake.as_of(self.feed, key, self.day, columns=columns, version=self.version, among=among)


def versions_of(cycle: Cycle) -> dict[FeedName, int]:
    """Return the newest version of each of the market's feeds that has a table."""
    found = {feed: cycle.lake.version(f"facts/{feed}") for feed in cycle.market.feeds}
    return {feed: version for feed, version in found.items() if version is not None}


def facts_of(cycle: Cycle, versions: Mapping[FeedName, int]) -> dict[FeedName, Facts]:
    """Return the facts of each feed of which anything had been learnt by the cycle's as-of day."""
    return {
        feed: Facts(cycle.lake, feed, cycle.as_of, version)
        for feed, version in versions.items()
        if _has_begun(cycle, feed, version)
    }


def _has_begun(cycle: Cycle, feed: FeedName, version: int) -> bool:
    """Return whether a feed had delivered by the as-of day; whether it has withdrawn everything since does not matter.

    So the first row found tells, and what comes after the day does not.
    """
    table, view = f"facts/{feed}", f"facts_{feed}"
    sql = f"SELECT 1 FROM {view} WHERE known_on <= $day AND NOT deleted LIMIT 1"  # noqa: S608 - a feed's name
    return cycle.lake.query(sql, [table], versions={table: version}, day=cycle.as_of).num_rows > 0
