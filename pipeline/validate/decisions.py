"""The life of a bad row after the gate: released into the facts, or discarded, by a person's decision."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from pipeline.collect import landed
from pipeline.cycle import Cycle
from pipeline.errors import ConfigError, StageError
from pipeline.feeds import FEEDS, LARGEST_NUMBER, FeedName
from pipeline.validate.quarantine import DECISIONS_SCHEMA, BadRow, Decision

__all__ = ["discard", "obstacle_to_release", "release", "released_ids", "released_rows"]


def released_ids(cycle: Cycle, feed: FeedName) -> pa.Table:
    """Return the ids of the feed's rows that are released as the cycle knows it: a table of the column `id`."""
    if not cycle.lake.exists("decisions"):
        return pa.table({"id": pa.array([], pa.string())})
    sql = f"SELECT id FROM ({_IN_FORCE}) WHERE decision = 'released' ORDER BY id"  # noqa: S608 - a constant
    return cycle.lake.query(sql, ["decisions"], feed=feed, as_of=cycle.as_of)


def released_rows(cycle: Cycle, feed: FeedName, since: date, until: date) -> pa.Table | None:
    """Return the rows released since the feed's last cycle that its batch cannot hold, being about other days.

    Args:
        cycle: the cycle; decisions up to the feed's last cycle before it are no news to it.
        feed: the feed, of which this cycle has landed a batch.
        since: first day of the batch's window.
        until: last day of the batch's window.

    Returns:
        Rows in the landed schema of the batch's grain, without personal columns, in the order of their ids; None where
        there are none.
    """
    if not cycle.lake.exists("decisions"):
        return None
    sql = f"""
        SELECT unnest(from_json("row", $types)) FROM (
            SELECT id, "row", unnest(range(copies)) AS copy FROM ({_IN_FORCE})
            WHERE decision = 'released' AND cycle > $taken_in AND grain = $grain AND "day" NOT BETWEEN $since AND $until
        ) ORDER BY id, copy
    """  # noqa: S608 - a constant
    grain = landed(cycle, feed).grain
    schema = _public_schema(feed, grain)
    rows = cycle.lake.query(
        sql,
        ["decisions"],
        feed=feed,
        as_of=cycle.as_of,
        taken_in=_last_cycle_before(cycle, feed),
        grain=grain,
        since=since,
        until=until,
        types=_json_types(schema),
    )
    return rows.select(schema.names).cast(schema) if rows.num_rows else None


def _last_cycle_before(cycle: Cycle, feed: FeedName) -> date:
    """Return the last cycle before this one in which the feed passed the gate; the first of all days without one."""
    if not cycle.lake.exists("batches"):
        return date.min
    sql = "SELECT max(cycle) AS last FROM batches WHERE feed = $feed AND cycle < $as_of"
    last: date | None = cycle.lake.query(sql, ["batches"], feed=feed, as_of=cycle.as_of)["last"][0].as_py()
    return last or date.min


def release(cycle: Cycle, rows: Sequence[BadRow], note: str | None = None) -> None:
    """Record on the cycle's day that these rows are right after all; the gate lets them into the facts from then on.

    Raises:
        ConfigError: if the day is older than a cycle that has passed the gate, or a row cannot be released; nothing is
            recorded then.
        FencedError: if somebody else decides on the same day at the same time.
    """
    _refuse_the_past(cycle, rows)
    _refuse_obstacles(rows, lambda row: obstacle_to_release(cycle, row))
    _record(cycle, rows, "released", note)


def discard(cycle: Cycle, rows: Sequence[BadRow], note: str | None = None) -> None:
    """Record on the cycle's day that these rows are wrong and nobody needs to look at them again.

    Raises:
        ConfigError: if the day is older than a cycle that has passed the gate, or a row cannot be discarded; nothing
            is recorded then.
        FencedError: if somebody else decides on the same day at the same time.
    """
    _refuse_the_past(cycle, rows)
    _refuse_obstacles(rows, lambda row: _obstacle_to_discard(cycle, row))
    _record(cycle, rows, "discarded", note)


def obstacle_to_release(cycle: Cycle, row: BadRow) -> str | None:
    """Return the sentence that says why a row cannot be released on the cycle's day, or None where it can."""
    if row.status == "released":
        return f"The row {row.id} of '{row.feed}' was released on {row.decided_on} already."
    if row.status == "gone":
        return (
            f"The row {row.id} of '{row.feed}' has left its source since {row.last_seen}, so there is nothing to "
            f"release; what the source says in its place has passed the gate by itself."
        )
    if flaw := _flaw(cycle, row):
        return (
            f"The row {row.id} of '{row.feed}' cannot be released, because {flaw}; mend it in the source, or discard "
            f"it here."
        )
    return _contradiction(cycle, row)


def _obstacle_to_discard(cycle: Cycle, row: BadRow) -> str | None:
    if row.status == "discarded":
        return f"The row {row.id} of '{row.feed}' was discarded on {row.decided_on} already."
    if row.status == "released" and row.decided_on != cycle.as_of and not _will_be_landed(cycle, row):
        return (
            f"The row {row.id} of '{row.feed}' became a fact on {row.decided_on}, and the batch of {cycle.as_of} does "
            f"not reach back to its day {row.day}; mend it in the source and collect its day again."
        )
    return _contradiction(cycle, row)


def _contradiction(cycle: Cycle, row: BadRow) -> str | None:
    if row.decided_on is None or row.decided_on <= cycle.as_of:
        return None
    return (
        f"The row {row.id} of '{row.feed}' was {row.status} on {row.decided_on}, after {cycle.as_of}; decide again on "
        f"that day or a later one."
    )


def _will_be_landed(cycle: Cycle, row: BadRow) -> bool:
    """Return whether the cycle's batch reaches back to the row's day, so that the gate meets the row again."""
    try:
        since = landed(cycle, row.feed).since
    except StageError:
        since = cycle.as_of - timedelta(days=cycle.market.look_back_days)
    return row.day is None or row.day >= since


def _flaw(cycle: Cycle, row: BadRow) -> str | None:
    """Return what no decision can mend: without its key, its day or a readable number a row can be no fact."""
    if row.day is not None and row.day > cycle.as_of and not FEEDS[row.feed].looks_ahead:
        return f"its day {row.day} lies after {cycle.as_of}"
    values = row.content
    for column in _public_schema(row.feed, row.grain):
        value = values.get(column.name)
        if value is None and not column.nullable:
            return f"its column '{column.name}' is missing or cannot be read"
        if isinstance(value, float) and not abs(value) <= LARGEST_NUMBER:
            return f"its column '{column.name}' is {value:g}, with which nothing can be summed up"
    return None


def _refuse_the_past(cycle: Cycle, rows: Iterable[BadRow]) -> None:
    """A decision is knowledge of its day: nights that have passed did not have it."""
    for feed in sorted({row.feed for row in rows}):
        newest = _newest_cycle(cycle, feed)
        if newest is not None and cycle.as_of < newest:
            msg = (
                f"'{feed}' of '{cycle.market.name}' has passed the gate for {newest} already, so a decision on "
                f"{cycle.as_of} would change what was known; give --date {newest} or a later day."
            )
            raise ConfigError(msg)


def _newest_cycle(cycle: Cycle, feed: str) -> date | None:
    if not cycle.lake.exists("batches"):
        return None
    found = cycle.lake.query("SELECT max(cycle) AS newest FROM batches WHERE feed = $feed", ["batches"], feed=feed)
    newest: date | None = found["newest"][0].as_py()
    return newest


def _refuse_obstacles(rows: Iterable[BadRow], obstacle: Callable[[BadRow], str | None]) -> None:
    for row in rows:
        if sentence := obstacle(row):
            raise ConfigError(sentence)


def _record(cycle: Cycle, rows: Sequence[BadRow], decision: Decision, note: str | None) -> None:
    """Add a decision about each row to what the day has decided, in one commit; earlier decisions stay to be read."""
    attempt = cycle.lake.attempt("decisions", cycle=cycle.as_of)
    taken = DECISIONS_SCHEMA.empty_table()
    if cycle.lake.exists("decisions"):
        held = cycle.lake.read("decisions", cycle=cycle.as_of)
        taken = held.select(DECISIONS_SCHEMA.names).cast(DECISIONS_SCHEMA)
    fresh = [
        {
            "cycle": cycle.as_of,
            "feed": row.feed,
            "number": number,
            "id": row.id,
            "decision": decision,
            "note": note,
            "grain": row.grain,
            "day": row.day,
            "copies": row.copies,
            "row": row.row,
        }
        for number, row in enumerate(rows, start=taken.num_rows)
    ]
    attempt.commit(pa.concat_tables([taken, pa.Table.from_pylist(fresh, schema=DECISIONS_SCHEMA)]))


def _public_schema(feed: FeedName, grain: str) -> pa.Schema:
    """Return the columns of a quarantined row: those of a landed one without the personal ones."""
    contract = FEEDS[feed]
    columns = contract.schema if grain == "facts" else contract.lines
    return pa.schema([column for column in columns or () if column.name not in contract.personal])


def _json_types(schema: pa.Schema) -> str:
    """Return the structure that DuckDB's `from_json` reads a row back with."""
    with duckdb.connect() as connection:
        types = connection.from_arrow(schema.empty_table()).types
    return json.dumps(dict(zip(schema.names, map(str, types), strict=True)))


_IN_FORCE = """
    SELECT * FROM decisions WHERE feed = $feed AND cycle <= $as_of
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY cycle DESC, number DESC) = 1
"""
"""The latest decision about each row of a feed as a cycle knows it."""
