"""Keys of raw lines across a whole batch: their hashes are kept, and what looks repeated is compared in full."""

import duckdb

from pipeline.bounded import quoted
from pipeline.collect import Landed
from pipeline.feeds import Feed

__all__ = ["count_repeated_line_keys", "note_line_keys"]


def note_line_keys(connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Add the hashes of the keys of the accepted lines in the table `slice` to the table `line_keys`.

    Lines that lack a part of their key are known by their whole content alone.
    """
    given = " AND ".join(f'"{column}" IS NOT NULL' for column in feed.line_key)
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS line_keys (hashed UBIGINT)")
    connection.execute(f"INSERT INTO line_keys SELECT hash({quoted(feed.line_key)}) FROM slice WHERE {given}")  # noqa: S608


def count_repeated_line_keys(connection: duckdb.DuckDBPyConnection, feed: Feed, batch: Landed) -> int:
    """Return how many of the noted lines have the key of an earlier one, on whatever day."""
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE doubtful AS
        SELECT hashed, count(*) AS lines FROM line_keys GROUP BY hashed HAVING count(*) > 1
    """)
    lines = connection.sql("SELECT coalesce(sum(lines), 0)::BIGINT FROM doubtful").fetchall()[0][0]
    if lines == 0:
        return 0
    # Different keys may have one hash: the keys themselves are read again from the landing zone, for these alone.
    key = quoted(feed.line_key)
    sql = f"""
        SELECT count(DISTINCT ({key})) FROM read_parquet($files)
        WHERE hash({key}) IN (SELECT hashed FROM doubtful)
    """  # noqa: S608 - names come from the feeds' contracts
    different = connection.sql(sql, params={"files": batch.files}).fetchall()[0][0]
    return max(0, int(lines) - int(different))
