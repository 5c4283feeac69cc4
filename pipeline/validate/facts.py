"""From accepted rows to the revisions that a cycle adds to the lake: what is new, what changed, what is gone."""

import duckdb
import pyarrow as pa

from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.feeds import Feed, Grain

__all__ = ["revisions", "to_facts"]

_SUMMED_LINES = {
    "sales": """
        SELECT item, location, date, coalesce(sum(units::DECIMAL(18, 4)) FILTER (units > 0), 0)::DOUBLE AS units,
               sum(revenue::DECIMAL(18, 4))::DOUBLE AS revenue,
               count(DISTINCT order_id) AS orders, nullif(count(DISTINCT customer), 0) AS buyers,
               coalesce(-sum(units::DECIMAL(18, 4)) FILTER (units < 0), 0)::DOUBLE AS returns
        FROM accepted GROUP BY ALL
    """,
}
"""How raw lines of a feed become facts; sums are taken in decimals, so that the order of rows cannot matter."""


def to_facts(rows: pa.Table, feed: Feed, grain: Grain) -> pa.Table:
    """Return accepted rows as facts of the feed's contract; personal columns end here."""
    if grain == "facts":
        return rows.cast(feed.schema)
    with duckdb.connect() as connection:
        connection.register("accepted", rows)
        return connection.sql(_SUMMED_LINES[feed.name]).to_arrow_table().select(feed.schema.names).cast(feed.schema)


def revisions(cycle: Cycle, feed: Feed, batch: Landed, *, landed_facts: pa.Table, landed_rows: pa.Table) -> pa.Table:
    """Return the facts to write: new or changed ones, and a tombstone for each that has gone from the source.

    An empty batch says nothing: it neither changes nor deletes. A key that landed only in quarantined rows is neither
    new nor gone. What is fetched when a feed is first collected counts as known from the day it is about (a plan: from
    as long before it as the market plans ahead), so that nights before the first one can be replayed; everything later
    is known from the cycle's as-of day.
    """
    held = _held(cycle, feed, batch) if batch.rows else feed.schema.empty_table()
    with duckdb.connect() as connection:
        connection.register("landed_facts", landed_facts)
        connection.register("landed_rows", landed_rows)
        connection.register("held", held)
        found = connection.sql(_difference(feed)).to_arrow_table()
        connection.register("found", found)
        sql = f"SELECT {_known_on(cycle, feed, batch)} AS known_on, * FROM found ORDER BY {', '.join(feed.key)}"  # noqa: S608
        revised = connection.sql(sql).to_arrow_table()
    flags = [pa.field("known_on", pa.date32(), nullable=False), pa.field("deleted", pa.bool_(), nullable=False)]
    schema = pa.schema([flags[0], *(column.with_nullable(nullable=True) for column in feed.schema), flags[1]])
    return revised.select(schema.names).cast(schema)


def _held(cycle: Cycle, feed: Feed, batch: Landed) -> pa.Table:
    """Return what was known of the window before this cycle, its own earlier attempt left out."""
    table = f"facts/{feed.name}"
    if not cycle.lake.exists(table):
        return feed.schema.empty_table()
    known = cycle.lake.as_of(feed.name, feed.key, cycle.as_of, without_cycle=cycle.as_of).select(feed.schema.names)
    if feed.day is None:
        return known
    with duckdb.connect() as connection:
        connection.register("known", known)
        sql = f"FROM known WHERE {feed.day} BETWEEN $since AND $until"
        return connection.sql(sql, params={"since": batch.since, "until": batch.until}).to_arrow_table()


def _difference(feed: Feed) -> str:
    columns = ", ".join(f'"{name}"' for name in feed.schema.names)
    key = ", ".join(f'"{name}"' for name in feed.key)
    return f"""
        SELECT {columns}, false AS deleted FROM (SELECT {columns} FROM landed_facts EXCEPT SELECT {columns} FROM held)
        UNION ALL
        SELECT {columns}, true AS deleted FROM held ANTI JOIN landed_rows USING ({key})
    """  # noqa: S608 - names come from the feeds' contracts


def _known_on(cycle: Cycle, feed: Feed, batch: Landed) -> str:
    if not batch.initial:
        return f"DATE '{cycle.as_of}'"
    match feed.name:
        case "promotions":
            return f"least(start - {cycle.market.plan_ahead_days}, DATE '{cycle.as_of}')"
        case "catalogue" | "calendar":
            return f"DATE '{cycle.market.history_start}'"
        case _:
            return str(feed.day)
