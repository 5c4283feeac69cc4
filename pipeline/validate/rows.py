"""The rows of one slice at the gate: repeats taken out, bad ones sent to quarantine, released ones let through."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa

from pipeline.bounded import listed, quoted
from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.errors import ConfigError
from pipeline.feeds import LARGEST_NUMBER, Feed
from pipeline.validate.expectations import GOOD, Judge
from pipeline.validate.facts import public_columns
from pipeline.validate.spool import Spool
from pipeline.validate.suites import Suite

if TYPE_CHECKING:
    import numpy as np

__all__ = ["REFUSED_SCHEMA", "RowCounts", "count_repeated_keys", "drop_repeats", "refuse_bad_rows"]

REFUSED_SCHEMA = pa.schema(
    [
        pa.field("rule", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("id", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("grain", pa.string()),
        pa.field("row", pa.string()),
    ]
)
"""Rows of the table `quarantine`: the same bad row has one id every night; `row` is JSON without personal columns."""

_ID_LENGTH = 12
_SPOOLED_ROWS = 100_000


@dataclass(frozen=True)
class RowCounts:
    """Where the distinct rows of a slice went."""

    accepted: int
    released: int
    """Rows among the accepted ones that a person has released from quarantine."""
    rules: Counter[str]
    """Rule -> rows that it sent to quarantine."""
    present: Counter[str]
    """Column that a rule speaks of -> rows with a value in it."""


def drop_repeats(connection: duckdb.DuckDBPyConnection, feed: Feed, batch: Landed) -> int:
    """Delete from the table `slice` what an earlier row has said word for word; return how many rows that was."""
    columns = quoted(feed.landed_schema(batch.grain).names)
    # Hashes are grouped, not rows: only rows whose hash comes twice are compared.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE doubtful AS
        SELECT hash({columns}) AS doubt FROM slice GROUP BY doubt HAVING count(*) > 1
    """)  # noqa: S608 - names come from the feeds' contracts
    if not connection.sql("FROM doubtful LIMIT 1").fetchall():
        return 0
    deleted = connection.execute(f"""
        DELETE FROM slice WHERE rowid IN (
            SELECT rowid FROM slice WHERE hash({columns}) IN (FROM doubtful)
            QUALIFY row_number() OVER (PARTITION BY {columns} ORDER BY rowid) > 1
        )
    """).fetchall()  # noqa: S608 - names come from the feeds' contracts
    return int(deleted[0][0])


def refuse_bad_rows(
    connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed, batch: Landed, judge: Judge, spool: Spool
) -> RowCounts:
    """Move the rows that break a rule from the table `slice` into the quarantine's spool.

    The table `refused` then has the keys of these rows. Rows whose id is in the table `released` stay, unless they
    have no key, no day of the window, or no finite number: no decision can make a fact of them.
    """
    positions, frame = _frame(connection, cycle, feed, batch, judge.suite)
    sent_away_by = judge.judge(frame)
    bad = sent_away_by != GOOD
    connection.register("verdicts", pa.table({"position": positions[bad], "number": sent_away_by[bad]}))
    connection.register("rules", _rules(judge.suite))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE bad AS {_bad_rows(cycle, feed, batch)}")
    released = _count(connection, "FROM bad WHERE let_in")
    connection.execute("DELETE FROM bad WHERE let_in")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE refused AS
        SELECT DISTINCT {quoted(feed.key)} FROM slice SEMI JOIN bad ON slice.rowid = bad.position
    """)  # noqa: S608 - names come from the feeds' contracts
    connection.execute("DELETE FROM slice WHERE rowid IN (SELECT position FROM bad)")
    rules = connection.sql("SELECT rule, count(*) FROM bad GROUP BY rule").fetchall()
    for rows in connection.sql("FROM bad ORDER BY position").to_arrow_reader(_SPOOLED_ROWS):
        spool.append(pa.Table.from_batches([rows]))
    return RowCounts(_count(connection, "FROM slice"), released, Counter(dict(rules)), Counter(_present(frame)))


def count_repeated_keys(connection: duckdb.DuckDBPyConnection, table: str, key: tuple[str, ...]) -> int:
    """Return how many rows of a table have a key that an earlier row has."""
    columns = quoted(key)
    sql = f"""
        WITH doubtful AS (SELECT hash({columns}) AS doubt FROM {table} GROUP BY doubt HAVING count(*) > 1)
        SELECT coalesce(sum(rows - 1), 0)::BIGINT FROM (
            SELECT count(*) AS rows FROM {table} WHERE hash({columns}) IN (FROM doubtful) GROUP BY {columns}
        )
    """  # noqa: S608 - names come from the feeds' contracts
    return int(connection.sql(sql).fetchall()[0][0])


def _frame(
    connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed, batch: Landed, suite: Suite
) -> "tuple[np.ndarray[Any, np.dtype[np.int64]], pd.DataFrame]":
    """Return the slice's row ids `[N]` and what a suite may look into of them `[N, C]`.

    A column of which only the presence matters is handed over as present or missing: that is quicker, and keeps what
    is in it out of the Data Docs.
    """
    known = _derived(cycle, feed, batch) | {
        column.name: _judged(column, looked_into=column.name in suite.columns_looked_into)
        for column in feed.landed_schema(batch.grain)
        if column.name not in feed.personal
    }
    for column in suite.columns:
        if column not in known:
            msg = f"The suite '{suite.name}' speaks of '{column}', but the gate knows only {', '.join(known)}; mend it."
            raise ConfigError(msg)
    columns = ", ".join(f'{known[column]} AS "{column}"' for column in suite.columns)
    rows = connection.sql(f"SELECT rowid AS position, {columns} FROM slice").to_arrow_table()  # noqa: S608
    positions = rows["position"].to_numpy()
    frame = rows.drop_columns(["position"])
    for number, column in enumerate(frame.schema):
        if pa.types.is_string(column.type):
            frame = frame.set_column(number, column.name, frame[column.name].dictionary_encode())
    return positions, frame.to_pandas()


def _derived(cycle: Cycle, feed: Feed, batch: Landed) -> dict[str, str]:
    """Return what the gate works out for each row: column -> SQL."""
    names = feed.landed_schema(batch.grain).names
    derived = {}
    if feed.day is not None:
        reach = f"DATE '{batch.until}'"
        if feed.name == "market":
            ahead = listed(name for name, variable in cycle.market.variables.items() if variable.known == "ahead")
            reach = f"CASE WHEN variable IN ({ahead}) THEN {reach} ELSE DATE '{cycle.as_of}' END"
        derived["days_beyond_reach"] = f'"{feed.day}" - {reach}'
        derived["days_before_window"] = f"DATE '{batch.since}' - \"{feed.day}\""
    if {"units", "revenue"} <= set(names):
        derived["unit_price"] = "revenue / nullif(units, 0)"
    if {"start", "end"} <= set(names):
        derived["days_long"] = '"end" - "start" + 1'
    if {"launched", "discontinued"} <= set(names):
        derived["days_on_sale"] = "discontinued - launched"
    return derived


def _judged(column: pa.Field, *, looked_into: bool) -> str:
    """Return a landed column as a suite sees it: empty texts are missing, and NaN is infinite instead of missing."""
    name = f'"{column.name}"'
    if pa.types.is_floating(column.type):
        return f"CASE WHEN isnan({name}) THEN 'infinity'::DOUBLE ELSE {name} END"
    present = f"{name} IS NOT NULL"
    if pa.types.is_string(column.type):
        # Nearly every text starts with a visible character; only the others are trimmed to see whether they are empty.
        present = f"{name} >= '!' OR trim({name}) <> ''"
    return f"CASE WHEN {present} THEN {name if looked_into else '1::TINYINT'} END"


def _bad_rows(cycle: Cycle, feed: Feed, batch: Landed) -> str:
    """Return the query for the rows that `verdicts` names, as the quarantine keeps them."""
    schema = feed.landed_schema(batch.grain)
    public = public_columns(feed, schema, cycle.market.privacy.min_group)
    fields = ", ".join(f'"{name}" := {expression}' for name, expression in public.items())
    usable = [f'"{column.name}" IS NOT NULL' for column in schema if not column.nullable]
    usable += [
        f'("{column.name}" IS NULL OR abs("{column.name}") <= {LARGEST_NUMBER})'
        for column in schema
        if pa.types.is_floating(column.type)
    ]
    if feed.day is not None:
        usable.append(f"\"{feed.day}\" BETWEEN DATE '{batch.since}' AND DATE '{batch.until}'")
    day = "NULL::DATE" if feed.day is None else f'"{feed.day}"'
    return f"""
        WITH told AS (
            SELECT position, rule, reason, {day} AS "day", '{batch.grain}' AS grain, {" AND ".join(usable)} AS usable,
                   to_json(struct_pack({fields}))::VARCHAR AS "row"
            FROM verdicts JOIN rules USING (number) JOIN slice ON slice.rowid = position
        ), named AS (
            SELECT *, left(md5('{feed.name}/' || "row"), {_ID_LENGTH}) AS id FROM told
        )
        SELECT * EXCLUDE (usable), coalesce(usable, false) AND id IN (SELECT id FROM released) AS let_in FROM named
    """  # noqa: S608 - names come from the feeds' contracts


def _rules(suite: Suite) -> pa.Table:
    return pa.table(
        {
            "number": pa.array(range(len(suite.rules)), pa.int16()),
            "rule": pa.array([rule.name for rule in suite.rules], pa.string()),
            "reason": pa.array([rule.reason for rule in suite.rules], pa.string()),
        }
    )


def _present(frame: pd.DataFrame) -> dict[str, int]:
    return {str(column): int(rows) for column, rows in frame.notna().sum().items()}


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(connection.sql(f"SELECT count(*) {source}").fetchall()[0][0])
