"""What the gate has put into quarantine: each bad row once, with where it stands."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, Self

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.feeds import FeedName, Grain
from pipeline.lake import Lake

__all__ = [
    "DECISIONS_SCHEMA",
    "BadRow",
    "BadRowCount",
    "Choice",
    "Decision",
    "Sighting",
    "Status",
    "bad_rows",
    "count_bad_rows",
    "decisions_about",
    "find_bad_rows",
    "sightings_of",
]

Decision = Literal["released", "discarded"]

Status = Literal["open", "gone", "released", "discarded"]
"""`open`: somebody has to decide. `gone`: the source has not delivered the row again, so it was mended there."""

SHORTEST_PREFIX = 4
"""So many characters of an id are needed to name a row."""

DECISIONS_SCHEMA = pa.schema(
    [
        pa.field("cycle", pa.date32(), nullable=False),
        pa.field("feed", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("note", pa.string()),
        pa.field("grain", pa.string(), nullable=False),
        pa.field("day", pa.date32()),
        pa.field("copies", pa.int64(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
    ]
)
"""The table `decisions`: `cycle` is the day decided on, `number` counts the decisions of that day."""


@dataclass(frozen=True)
class Choice:
    """Which rows are asked for; None stands for all."""

    feeds: Sequence[str] | None = None
    rule: str | None = None
    status: Status | None = None


@dataclass(frozen=True)
class BadRow:
    """A row in quarantine, however many nights have met it."""

    id: str
    feed: FeedName
    grain: Grain
    day: date | None
    """The day that the row is about, where it has a readable one."""
    rule: str
    """The rule that the row broke when it was last seen."""
    reason: str
    first_seen: date
    """The first cycle whose batch held the row."""
    last_seen: date
    copies: int
    """How often the last batch held it: lines of different people can look the same without them."""
    status: Status
    decided_on: date | None
    note: str | None
    row: str
    """The row as JSON, without personal columns."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the row that a record of `bad_rows`' query holds."""
        return cls(**record)

    @property
    def content(self) -> dict[str, Any]:
        """The row's columns and values."""
        return dict(json.loads(self.row))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = {key: str(value) if isinstance(value, date) else value for key, value in asdict(self).items()}
        return plain | {"row": self.content}


@dataclass(frozen=True)
class BadRowCount:
    """How many bad rows of a feed broke a rule, and where they stand."""

    feed: str
    rule: str
    reason: str
    status: Status
    rows: int


@dataclass(frozen=True)
class Sighting:
    """A cycle whose batch held the row."""

    cycle: date
    rule: str
    reason: str
    copies: int


def bad_rows(lake: Lake, choice: Choice, limit: int | None = None) -> list[BadRow]:
    """Return the chosen rows, the last seen first."""
    if not lake.exists("quarantine"):
        return []
    names = ", ".join(f'"{name}"' for name in BadRow.__dataclass_fields__)
    sql = f"{_standing(lake)} SELECT {names} FROM standing WHERE {_CHOSEN} ORDER BY last_seen DESC, feed, rule, id"  # noqa: S608
    if limit is not None:
        sql += f" LIMIT {limit:d}"
    return [BadRow.from_record(record) for record in _asked(lake, sql, **_chosen(choice))]


def count_bad_rows(lake: Lake, choice: Choice) -> list[BadRowCount]:
    """Return how many of the chosen rows there are for each feed, rule and status."""
    if not lake.exists("quarantine"):
        return []
    sql = f"""
        {_standing(lake)}
        SELECT feed, rule, max(reason) AS reason, status, count(*) AS "rows" FROM standing WHERE {_CHOSEN}
        GROUP BY feed, rule, status ORDER BY feed, "rows" DESC, rule, status
    """  # noqa: S608 - the parts stand below
    return [BadRowCount(**record) for record in _asked(lake, sql, **_chosen(choice))]


def find_bad_rows(lake: Lake, market: str, prefixes: Sequence[str]) -> list[BadRow]:
    """Return the rows that these beginnings of ids name, each once.

    Raises:
        ConfigError: if a beginning is too short, names no row of this market, or names several.
    """
    return list(dict.fromkeys(_found(lake, market, prefix) for prefix in prefixes))


def sightings_of(lake: Lake, row: BadRow) -> list[Sighting]:
    """Return the cycles that have met the row, the oldest first."""
    sql = """
        SELECT cycle, any_value(rule) AS rule, any_value(reason) AS reason, count(*) AS copies FROM quarantine
        WHERE feed = $feed AND id = $id GROUP BY cycle ORDER BY cycle
    """
    found = lake.query(sql, ["quarantine"], feed=row.feed, id=row.id)
    return [Sighting(**record) for record in found.to_pylist()]


def decisions_about(lake: Lake, row: BadRow) -> list[tuple[date, Decision, str | None]]:
    """Return day, decision and note of each decision about the row, the oldest first."""
    if not lake.exists("decisions"):
        return []
    sql = "SELECT cycle, decision, note FROM decisions WHERE feed = $feed AND id = $id ORDER BY cycle, number"
    found = lake.query(sql, ["decisions"], feed=row.feed, id=row.id).to_pylist()
    return [(record["cycle"], record["decision"], record["note"]) for record in found]


def _found(lake: Lake, market: str, prefix: str) -> BadRow:
    if len(prefix) < SHORTEST_PREFIX:
        msg = f"'{prefix}' is too short to name a row; give at least {SHORTEST_PREFIX} characters of its id."
        raise ConfigError(msg)
    found = []
    if lake.exists("quarantine"):
        names = ", ".join(f'"{name}"' for name in BadRow.__dataclass_fields__)
        sql = f"{_standing(lake)} SELECT {names} FROM standing WHERE starts_with(id, $prefix) ORDER BY id"  # noqa: S608
        found = _asked(lake, sql, prefix=prefix.lower())
    if not found:
        msg = (
            f"The quarantine of '{market}' has no row '{prefix}'; 'trendmill quarantine list {market} --status all' "
            f"shows its rows."
        )
        raise ConfigError(msg)
    if len(found) > 1:
        msg = f"'{prefix}' stands for {len(found)} rows ({_shown([row['id'] for row in found])}); give more of the id."
        raise ConfigError(msg)
    return BadRow.from_record(found[0])


def _shown(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")  # noqa: PLR2004


_CHOSEN = """
    ($feeds IS NULL OR list_contains($feeds, feed)) AND ($rule IS NULL OR rule = $rule)
    AND ($status IS NULL OR status = $status)
"""


def _chosen(choice: Choice) -> dict[str, Any]:
    feeds = None if choice.feeds is None else list(choice.feeds)
    return {"feeds": feeds, "rule": choice.rule, "status": choice.status}


def _asked(lake: Lake, sql: str, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    tables = [table for table in ("quarantine", "decisions", "batches") if lake.exists(table)]
    records: list[dict[str, Any]] = lake.query(sql, tables, **parameters).to_pylist()
    return records


def _standing(lake: Lake) -> str:
    """Return the CTE `standing`: each row of the quarantine once, with its status.

    A row that the source's newest batch should have held, but did not, has gone from the source; those without a
    readable day come every night.
    """
    missing = ""
    if not lake.exists("decisions"):
        missing += """
            decisions AS (
                SELECT NULL::VARCHAR AS feed, NULL::VARCHAR AS id, NULL::VARCHAR AS decision, NULL::DATE AS cycle,
                       NULL::VARCHAR AS note, 0 AS number WHERE false
            ),
        """
    if not lake.exists("batches"):
        missing += """
            batches AS (
                SELECT NULL::VARCHAR AS feed, NULL::DATE AS cycle, NULL::DATE AS since, NULL::DATE AS "until"
                WHERE false
            ),
        """
    return f"""
        WITH {missing}
        nights AS (
            SELECT feed, id, cycle, any_value(grain) AS grain, any_value("day") AS "day", any_value(rule) AS rule,
                   any_value(reason) AS reason, any_value("row") AS "row", count(*) AS copies
            FROM quarantine GROUP BY feed, id, cycle
        ),
        seen AS (
            SELECT feed, id, arg_max(grain, cycle) AS grain, arg_max("day", cycle) AS "day",
                   arg_max(rule, cycle) AS rule, arg_max(reason, cycle) AS reason, arg_max("row", cycle) AS "row",
                   arg_max(copies, cycle) AS copies, min(cycle) AS first_seen, max(cycle) AS last_seen
            FROM nights GROUP BY feed, id
        ),
        latest AS (
            SELECT feed, id, decision, cycle AS decided_on, note FROM decisions
            QUALIFY row_number() OVER (PARTITION BY feed, id ORDER BY cycle DESC, number DESC) = 1
        ),
        newest AS (
            SELECT feed, max(cycle) AS cycle, arg_max(since, cycle) AS since, arg_max("until", cycle) AS "until"
            FROM batches GROUP BY feed
        ),
        standing AS (
            SELECT seen.*, decided_on, note, CASE
                WHEN decision IS NOT NULL THEN decision
                WHEN last_seen < newest.cycle AND coalesce("day" BETWEEN since AND "until", true) THEN 'gone'
                ELSE 'open' END AS status
            FROM seen LEFT JOIN latest USING (feed, id) LEFT JOIN newest USING (feed)
        )
    """  # noqa: S608 - no part of it comes from outside
