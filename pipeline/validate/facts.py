"""From accepted rows to the revisions that a cycle adds to the lake: what is new, what changed, what is gone."""

from datetime import date

import duckdb
import pyarrow as pa

from pipeline.bounded import listed, quoted
from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.feeds import Feed, Grain
from pipeline.lake import Between
from pipeline.validate.undated import without_day

__all__ = ["held_facts", "late_revisions", "make_facts", "public_columns", "revisions", "revisions_schema"]

_UNDONE = """
    WITH lines AS (
        SELECT rowid AS position, item, location, date, customer, abs(units) AS size, units > 0 AS sold,
               order_id, line, revenue
        FROM slice WHERE customer IS NOT NULL
    ), returned AS (
        SELECT DISTINCT item, location, date, customer, size FROM lines WHERE NOT sold
    )
    SELECT position FROM lines SEMI JOIN returned USING (item, location, date, customer, size)
    WINDOW twins AS (PARTITION BY item, location, date, customer, size)
    QUALIFY row_number() OVER (
        PARTITION BY item, location, date, customer, size, sold ORDER BY order_id, line, revenue
    ) <= least(count(*) FILTER (sold) OVER twins, count(*) FILTER (NOT sold) OVER twins)
"""
"""Lines of sales that undo each other: a return, and a sale of as many to the same customer on the same day."""

_SUMMED_LINES = {
    "sales": """
        SELECT item, location, date,
               coalesce(sum(units::DECIMAL(18, 4)) FILTER (units > 0), 0)::DOUBLE AS units,
               CASE WHEN count(revenue) > 0
                    THEN coalesce(sum(revenue::DECIMAL(18, 4)) FILTER (units > 0), 0)::DOUBLE END AS revenue,
               count(DISTINCT order_id) FILTER (units > 0) AS orders,
               count(DISTINCT customer) FILTER (units > 0) AS buyers,
               coalesce(-sum(units::DECIMAL(18, 4)) FILTER (units < 0), 0)::DOUBLE AS returns
        FROM {rows} GROUP BY item, location, date
    """,
    "behaviour": """
        SELECT item, location, date,
               count(*) FILTER (event = 'view') AS views,
               count(*) FILTER (event = 'cart') AS cart_adds,
               count(*) FILTER (event = 'favourite') AS favourites,
               count(*) FILTER (event = 'search') AS searches,
               count(DISTINCT "user") AS visitors
        FROM {rows} GROUP BY item, location, date
    """,
}
"""How raw lines of a feed become facts; sums are taken in decimals, so that the order of rows cannot matter.

Revenue, orders and buyers are those of the sales; what came back is told by `returns` alone, on the day it came.
"""


def public_columns(feed: Feed, columns: pa.Schema, min_group: int) -> dict[str, str]:
    """Return column -> SQL for it as anybody may read it: without personal ones, small counts of people suppressed."""
    return {
        name: f'CASE WHEN "{name}" >= {min_group} THEN "{name}" END' if name in feed.people else f'"{name}"'
        for name in columns.names
        if name not in feed.personal
    }


def make_facts(connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed, grain: Grain) -> None:
    """Make the table `facts` from the accepted rows in the table `slice`; personal columns end here."""
    rows = "slice"
    if grain == "lines":
        if feed.name == "sales":
            connection.execute(f"DELETE FROM slice WHERE rowid IN ({_UNDONE})")  # noqa: S608 - a constant
        rows = f"({_SUMMED_LINES[feed.name].format(rows='slice')})"
    columns = _fact_columns(cycle, feed)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE facts AS SELECT {columns} FROM {rows}")  # noqa: S608


def held_facts(cycle: Cycle, feed: Feed, window: tuple[date, date] | None) -> pa.Table:
    """Return what was known of some days before this cycle, its own earlier attempt left out.

    Args:
        cycle: the cycle.
        feed: the feed.
        window: first and last day; None for a feed that is about no day.
    """
    if not cycle.lake.exists(f"facts/{feed.name}"):
        return feed.schema.empty_table()
    between = Between(feed.day, *window) if feed.day and window else None
    known = cycle.lake.as_of(feed.name, feed.key, cycle.as_of, without_cycle=cycle.as_of, between=between)
    return known.select(feed.schema.names)


def revisions(connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed, batch: Landed) -> pa.Table:
    """Return the facts to write: new or changed ones, and a tombstone for each that has gone from the source.

    What is fetched when a feed is first collected counts as known from the day it is about (a plan: from as long before
    it as the market plans ahead), so that nights before the first one can be replayed; everything later is known from
    the cycle's as-of day. A key that landed only in quarantined rows is neither new nor gone, and may have done so in a
    row whose day cannot be read.

    Args:
        connection: a database with the tables `facts`, `held` (facts known before), `refused` (keys of bad rows) and
            `doubtful_keys` (those of rows without a day).
        cycle: the cycle.
        feed: the feed.
        batch: the landed batch that the facts come from.

    Returns:
        Rows of `revisions_schema`, sorted by day and key.
    """
    columns, key = quoted(feed.schema.names), quoted(feed.key)
    order = key if feed.day is None else f'"{feed.day}", {key}'
    spared = f"ANTI JOIN refused USING ({key})"
    if feed.day is not None:
        spared += f" ANTI JOIN doubtful_keys USING ({quoted(without_day(feed))})"
    sql = f"""
        SELECT {_known_on(cycle, feed, batch)} AS known_on, * FROM (
            SELECT {columns}, false AS deleted FROM (SELECT {columns} FROM facts EXCEPT SELECT {columns} FROM held)
            UNION ALL
            SELECT {columns}, true AS deleted FROM held ANTI JOIN facts USING ({key}) {spared}
        ) ORDER BY {order}
    """  # noqa: S608 - names come from the feeds' contracts
    return _as_revisions(connection.sql(sql).to_arrow_table(), feed)


def late_revisions(
    connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed, grain: Grain, released: pa.Table
) -> pa.Table:
    """Return the facts of days outside the batch's window that change because people have released rows about them.

    A released fact stands for what was held; released lines are added to it. Both are known from the as-of day.

    Args:
        connection: a database to work in.
        cycle: the cycle.
        feed: the feed, which is about days.
        grain: what the released rows are.
        released: rows in the landed schema of that grain, without personal columns.
    """
    days = released[feed.day].to_pylist()
    connection.register("held", held_facts(cycle, feed, (min(days), max(days))))
    connection.register("released", released)
    late = "released"
    if grain == "lines":
        columns = ", ".join(f'NULL::VARCHAR AS "{name}"' for name in feed.personal)
        lines = f"(SELECT *, {columns} FROM released)"  # noqa: S608 - names come from the feeds' contracts
        added = ", ".join(_added(feed, name) for name in feed.schema.names if name not in feed.key)
        late = f"""(
            SELECT {", ".join(f'late."{name}"' for name in feed.key)}, {added}
            FROM ({_SUMMED_LINES[feed.name].format(rows=lines)}) AS late LEFT JOIN held USING ({quoted(feed.key)})
        )"""  # noqa: S608 - names come from the feeds' contracts
    sql = f"""
        SELECT DATE '{cycle.as_of}' AS known_on, {_fact_columns(cycle, feed)}, false AS deleted FROM {late}
        ORDER BY "{feed.day}", {quoted(feed.key)}
    """  # noqa: S608 - names come from the feeds' contracts
    return _as_revisions(connection.sql(sql).to_arrow_table(), feed)


def revisions_schema(feed: Feed) -> pa.Schema:
    """Return the columns of the revisions of a feed."""
    flags = [pa.field("known_on", pa.date32(), nullable=False), pa.field("deleted", pa.bool_(), nullable=False)]
    return pa.schema([flags[0], *(column.with_nullable(nullable=True) for column in feed.schema), flags[1]])


def _fact_columns(cycle: Cycle, feed: Feed) -> str:
    public = public_columns(feed, feed.schema, cycle.market.privacy.min_group)
    return ", ".join(f'{expression} AS "{name}"' for name, expression in public.items())


def _as_revisions(rows: pa.Table, feed: Feed) -> pa.Table:
    schema = revisions_schema(feed)
    return rows.select(schema.names).cast(schema)


def _added(feed: Feed, name: str) -> str:
    """Return a column of held and late facts together; people cannot be told apart any more, so they are not added."""
    if name in feed.people:
        return f'held."{name}"'
    held, late = f'held."{name}"', f'late."{name}"'
    return f'coalesce({held} + {late}, {held}, {late}) AS "{name}"'


def _known_on(cycle: Cycle, feed: Feed, batch: Landed) -> str:
    if not batch.initial:
        return f"DATE '{cycle.as_of}'"
    as_of, market = f"DATE '{cycle.as_of}'", cycle.market
    match feed.name:
        case "promotions":
            return f"least(start - {market.plan_ahead_days}, {as_of})"
        case "market":
            ahead = listed(name for name, variable in market.variables.items() if variable.known == "ahead")
            return f"least(date - CASE WHEN variable IN ({ahead}) THEN {market.horizon_days} ELSE 0 END, {as_of})"
        case "catalogue" | "calendar":
            return f"DATE '{market.history_start}'"
        case _:
            return f'least("{feed.day}", {as_of})'
