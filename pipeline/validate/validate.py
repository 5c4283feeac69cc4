"""The stage's front door: judge one landed batch, then commit facts, quarantine and ledger."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.collect import Landed, landed
from pipeline.cycle import Cycle
from pipeline.errors import GateError
from pipeline.feeds import FEEDS, Feed, FeedName
from pipeline.lake import Attempt
from pipeline.stage import StageReport
from pipeline.validate.expectations import NOTHING_TO_SAY, Verdict, check
from pipeline.validate.facts import revisions, to_facts

__all__ = ["ValidateReport", "run"]

VOLUME_BATCHES = 8
"""How many recent batches say what volume is usual."""


@dataclass(frozen=True)
class ValidateReport(StageReport):
    """The ledger's row for one feed and cycle: landed = accepted + quarantined + duplicates."""

    feed: str
    landed: int
    accepted: int
    quarantined: int
    duplicates: int
    revised: int
    """Facts written: new ones, changed ones and deletions."""
    facts_version: int
    docs: str

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return (
            f"{self.feed}: {self.landed:,} landed = {self.accepted:,} accepted + {self.quarantined:,} quarantined + "
            f"{self.duplicates:,} duplicates; {self.revised:,} facts written."
        )


def run(cycle: Cycle, feed: FeedName) -> ValidateReport:
    """Let a landed batch through the gate.

    Raises:
        GateError: if a blocking rule is broken; nothing of the batch has entered the lake then.
        FencedError: if another attempt has committed the same batch meanwhile.
    """
    cycle.market.feed(feed)
    contract = FEEDS[feed]
    facts = cycle.lake.attempt(f"facts/{feed}", cycle=cycle.as_of)
    quarantine = cycle.lake.attempt("quarantine", cycle=cycle.as_of, feed=feed)
    ledger = cycle.lake.attempt("batches", cycle=cycle.as_of, feed=feed)

    batch = landed(cycle, feed)
    everything = batch.read()
    first = pc.invert(_repeated(everything))
    landed_rows = _without_personal(everything, contract)
    distinct = landed_rows.filter(first)
    if batch.rows:
        parameters = _parameters(cycle, contract, batch)
        verdict = check(distinct, _suite_name(contract, batch), parameters, cycle.home.data_docs / cycle.market.name)
        _refuse_if_blocked(cycle, contract, verdict, distinct.num_rows)
    else:
        verdict = NOTHING_TO_SAY

    good = np.ones(distinct.num_rows, bool)
    good[list(verdict.reasons)] = False
    kept = everything.filter(first).filter(pa.array(good))
    accepted = to_facts(kept, contract, batch.grain)
    revised = revisions(cycle, contract, batch, landed_facts=accepted, landed_rows=landed_rows)
    _commit_quarantine(quarantine, distinct, verdict)
    committed = facts.commit(revised)
    report = ValidateReport(
        feed=feed,
        landed=batch.rows,
        accepted=kept.num_rows,
        quarantined=len(verdict.reasons),
        duplicates=batch.rows - distinct.num_rows,
        revised=revised.num_rows,
        facts_version=committed.version,
        docs=str(verdict.docs),
    )
    _commit_ledger(ledger, batch, report)
    return report


def _without_personal(rows: pa.Table, feed: Feed) -> pa.Table:
    return rows.drop_columns([column for column in feed.personal if column in rows.column_names])


def _repeated(rows: pa.Table) -> pa.Array:
    """Return a mask of the rows that say word for word what an earlier one has said `[N]`."""
    names = ", ".join(f'"{name}"' for name in rows.column_names)
    repeated = np.zeros(rows.num_rows, bool)
    with duckdb.connect() as connection:
        connection.register("batch", rows.append_column("position", pa.array(np.arange(rows.num_rows))))
        sql = f"""
            WITH groups AS (SELECT list(position) AS positions FROM batch GROUP BY {names} HAVING count(*) > 1)
            SELECT unnest(list_sort(positions)[2:]) AS position FROM groups
        """  # noqa: S608 - names come from the feeds' contracts
        repeated[connection.sql(sql).to_arrow_table()["position"].to_numpy()] = True
    return pa.array(repeated)


def _suite_name(feed: Feed, batch: Landed) -> str:
    return feed.name if batch.grain == "facts" else f"{feed.name}_lines"


def _parameters(cycle: Cycle, feed: Feed, batch: Landed) -> dict[str, Any]:
    oldest = cycle.as_of - timedelta(days=cycle.market.gate.max_age_days)
    usual = None if batch.initial else _usual_rows_a_day(cycle, feed)
    days = (batch.until - batch.since).days + 1
    return {
        "fresh_since": datetime.combine(oldest, time()),
        "min_rows": 1 if usual is None else usual * days / 5,
        "max_rows": 10**12 if usual is None else usual * days * 5,
    }


def _usual_rows_a_day(cycle: Cycle, feed: Feed) -> float | None:
    """Return the median of recent look-back batches' rows a day of their window, or None where there are none."""
    if not cycle.lake.exists("batches"):
        return None
    sql = """
        SELECT median(landed / ("until" - "since" + 1)) AS usual FROM (
            SELECT landed, "until", "since" FROM batches WHERE feed = $feed AND cycle < $cycle AND NOT initial
            ORDER BY cycle DESC LIMIT $batches
        )
    """
    found = cycle.lake.query(sql, ["batches"], feed=feed.name, cycle=cycle.as_of, batches=VOLUME_BATCHES)
    return found["usual"][0].as_py()


def _refuse_if_blocked(cycle: Cycle, feed: Feed, verdict: Verdict, rows: int) -> None:
    problems = list(verdict.blocking)
    share, allowed = len(verdict.reasons) / max(rows, 1), cycle.market.gate.max_quarantined_share
    if share > allowed:
        first = next(iter(verdict.reasons.values()))[1]
        problems.append(
            f"{share:.1%} of its rows would be quarantined, first because {first}; {allowed:.1%} is allowed"
        )
    if problems:
        msg = (
            f"The batch '{feed.name}' of {cycle.key} is refused: {'; '.join(problems)}. Nothing of it entered the "
            f"lake; mend the source and run the cycle again ({verdict.docs})."
        )
        raise GateError(msg)


def _commit_quarantine(attempt: Attempt, rows: pa.Table, verdict: Verdict) -> None:
    positions = list(verdict.reasons)
    rules, reasons = zip(*verdict.reasons.values(), strict=True) if positions else ((), ())
    with duckdb.connect() as connection:
        connection.register("bad", rows.take(pa.array(positions, pa.int64())))
        texts = connection.sql("SELECT to_json(bad)::VARCHAR AS row FROM bad").to_arrow_table()["row"]
    schema = pa.schema([("rule", pa.string()), ("reason", pa.string()), ("row", pa.string())])
    attempt.commit(pa.table([pa.array(rules, pa.string()), pa.array(reasons, pa.string()), texts], schema=schema))


def _commit_ledger(attempt: Attempt, batch: Landed, report: ValidateReport) -> None:
    counts = {name: getattr(report, name) for name in ("landed", "accepted", "quarantined", "duplicates", "revised")}
    row = counts | {"since": batch.since, "until": batch.until, "initial": batch.initial, "grain": batch.grain}
    attempt.commit(pa.Table.from_pylist([row]))
