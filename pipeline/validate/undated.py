"""Rows whose day is missing or cannot be read: they come every night, and nobody knows which fact they are about."""

import duckdb

from pipeline.bounded import quoted
from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.errors import GateError
from pipeline.feeds import Feed

__all__ = ["count_held_before", "note_doubtful_keys", "refuse_too_many", "without_day"]


def refuse_too_many(cycle: Cycle, feed: Feed, batch: Landed, slice_rows: int) -> None:
    """Refuse a batch with more rows without a day than a slice takes: they would all have to be judged together.

    Raises:
        GateError: if there are too many.
    """
    if feed.day is not None and batch.undated > slice_rows:
        msg = (
            f"The batch '{feed.name}' of {cycle.key} is refused: the column '{feed.day}' cannot be read in "
            f"{batch.undated:,} of its {batch.rows:,} rows, and no more than {slice_rows:,} can be looked at (rule "
            f"'{feed.day}_present'). Nothing of it entered the lake; mend the source and run the cycle again."
        )
        raise GateError(msg)


def without_day(feed: Feed) -> list[str]:
    """Return the columns of a feed's key but for its day."""
    return [column for column in feed.key if column != feed.day]


def note_doubtful_keys(connection: duckdb.DuckDBPyConnection, feed: Feed, source: str) -> None:
    """Make the table `doubtful_keys` of the keys in a table, without their day.

    A bad row without a day may be what has become of any fact with these keys, so none of them counts as gone.
    """
    keys = quoted(without_day(feed))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE doubtful_keys AS SELECT DISTINCT {keys} FROM {source}")  # noqa: S608


def count_held_before(connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed) -> int:
    """Return how many of the rows in the table `bad` another cycle's batch has sent to quarantine already.

    Rows that look alike count as often as that batch had them.
    """
    if not cycle.lake.exists("quarantine"):
        return 0
    sql = """
        SELECT id, max(copies) AS copies FROM (
            SELECT id, count(*) AS copies FROM quarantine
            WHERE feed = $feed AND cycle <> $cycle AND "day" IS NULL GROUP BY id, cycle
        ) GROUP BY id
    """
    connection.register("held_before", cycle.lake.query(sql, ["quarantine"], feed=feed.name, cycle=cycle.as_of))
    counted = """
        SELECT coalesce(sum(least(found.copies, held_before.copies)), 0)::BIGINT
        FROM (SELECT id, count(*) AS copies FROM bad GROUP BY id) AS found JOIN held_before USING (id)
    """
    return int(connection.sql(counted).fetchall()[0][0])
