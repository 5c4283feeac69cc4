"""The stage's front door: judge one landed batch, then commit quarantine, facts and ledger."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.bounded import bounded_duckdb
from pipeline.collect import Landed, landed, scratch
from pipeline.cycle import Cycle
from pipeline.errors import GateError
from pipeline.feeds import FEEDS, Feed, FeedName
from pipeline.lake import Attempt
from pipeline.stage import StageReport
from pipeline.validate import decisions
from pipeline.validate.batch import Tally, parameters_of, profile_of
from pipeline.validate.docs import write_page
from pipeline.validate.expectations import Judge, Outcome
from pipeline.validate.facts import held_facts, late_revisions, make_facts, revisions, revisions_schema
from pipeline.validate.keys import count_repeated_line_keys, note_line_keys
from pipeline.validate.rows import REFUSED_SCHEMA, count_repeated_keys, drop_repeats, refuse_bad_rows
from pipeline.validate.slices import MEMORY_LIMIT, SLICE_ROWS, Slice, load, slices_of
from pipeline.validate.spool import Spool
from pipeline.validate.suites import load_suite
from pipeline.validate.undated import count_held_before, note_doubtful_keys, refuse_too_many

__all__ = ["ValidateReport", "run"]

_BATCH_SUITE = "batch"


@dataclass(frozen=True)
class ValidateReport(StageReport):
    """The ledger's row for one feed and cycle: landed = accepted + quarantined + duplicates."""

    feed: str
    landed: int
    accepted: int
    quarantined: int
    duplicates: int
    released: int
    """Rows among the accepted ones that people have released from quarantine."""
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
        FencedError: if another attempt has committed or landed the same batch meanwhile.
        StageError: if nothing has landed, or the disk is full.
    """
    return _validated(cycle, feed, SLICE_ROWS)


def _validated(cycle: Cycle, feed: FeedName, slice_rows: int) -> ValidateReport:
    """Let a landed batch through the gate in slices of at most so many rows."""
    cycle.market.feed(feed)
    contract = FEEDS[feed]
    facts = cycle.lake.attempt(f"facts/{feed}", cycle=cycle.as_of)
    quarantine = cycle.lake.attempt("quarantine", cycle=cycle.as_of, feed=feed)
    ledger = cycle.lake.attempt("batches", cycle=cycle.as_of, feed=feed)

    batch = landed(cycle, feed)
    refuse_too_many(cycle, contract, batch, slice_rows)
    with scratch(cycle, feed) as folder:
        with _spools(folder, contract) as (refused, revised):
            tally, page = _judged(cycle, contract, batch, _Desk(folder, refused, revised, slice_rows))
        quarantine.commit(refused.dataset())
        quarantine.refuse_if_overtaken()
        committed = facts.commit(revised.dataset())
    report = ValidateReport(
        feed=feed,
        landed=batch.rows,
        accepted=tally.accepted,
        quarantined=tally.quarantined,
        duplicates=tally.duplicates,
        released=tally.released,
        revised=revised.rows,
        facts_version=committed.version,
        docs=str(page),
    )
    for committed_before in (quarantine, facts):
        committed_before.refuse_if_overtaken()
    _commit_ledger(ledger, batch, report, tally)
    return report


@dataclass(frozen=True)
class _Desk:
    """Where a batch is worked on, and where what comes of it is laid down."""

    folder: Path
    refused: Spool
    revised: Spool
    slice_rows: int


@contextmanager
def _spools(folder: Path, feed: Feed) -> Iterator[tuple[Spool, Spool]]:
    with (
        closing(Spool(folder / "quarantine.parquet", REFUSED_SCHEMA)) as refused,
        closing(Spool(folder / "facts.parquet", revisions_schema(feed))) as revised,
    ):
        yield refused, revised


def _judged(cycle: Cycle, feed: Feed, batch: Landed, desk: _Desk) -> tuple[Tally, Path]:
    """Judge a batch slice by slice, then as a whole; return what was counted, and its page in the Data Docs.

    Raises:
        GateError: if a blocking rule is broken.
    """
    tally, suite = Tally(), feed.name if batch.grain == "facts" else f"{feed.name}_lines"
    judge = Judge(load_suite(suite, parameters_of(cycle, feed.name), feed=feed.name))
    with bounded_duckdb(desk.folder, memory_limit=MEMORY_LIMIT) as connection:
        connection.register("released", decisions.released_ids(cycle, feed.name))
        connection.register("nothing", feed.schema.empty_table())
        note_doubtful_keys(connection, feed, "nothing")
        for part in slices_of(feed, batch, desk.slice_rows):
            load(connection, batch, feed, part)
            _judge_slice(connection, cycle, feed, batch, part, judge, desk, tally)
        if batch.grain == "lines":
            tally.repeated_keys = count_repeated_line_keys(connection, feed, batch)
        outcomes = [*_judged_whole(cycle, feed, batch, judge, tally), *judge.outcomes]
        page = write_page(cycle, suite, outcomes)
        _refuse_if_blocked(cycle, feed, outcomes, page)
        late = decisions.released_rows(cycle, feed.name, batch.since, batch.until) if feed.day else None
        if late is not None:
            desk.revised.append(late_revisions(connection, cycle, feed, batch.grain, late))
    return tally, page


def _judge_slice(
    connection: duckdb.DuckDBPyConnection,
    cycle: Cycle,
    feed: Feed,
    batch: Landed,
    part: Slice,
    judge: Judge,
    desk: _Desk,
    tally: Tally,
) -> None:
    """Take the table `slice` through the gate: its bad rows and its revisions are spooled, everything is counted."""
    tally.duplicates += drop_repeats(connection, feed, batch)
    tally.add(refuse_bad_rows(connection, cycle, feed, batch, judge, desk.refused))
    if feed.day is not None and part.undated:
        note_doubtful_keys(connection, feed, "refused")
        tally.held_before += count_held_before(connection, cycle, feed)
    tally.note_day(_newest_day(connection, cycle, feed))
    if batch.grain == "lines":
        note_line_keys(connection, feed)
    make_facts(connection, cycle, feed, batch.grain)
    if batch.grain == "facts":
        tally.repeated_keys += count_repeated_keys(connection, "facts", feed.key)
    held = _held(cycle, feed, batch, part)
    connection.register("held", held)
    if feed.day is not None:
        days = f'SELECT "{feed.day}", count(*) FROM held GROUP BY ALL'  # noqa: S608 - a contract's name
        tally.held.update(dict(connection.sql(days).fetchall()))
    desk.revised.append(revisions(connection, cycle, feed, batch))


def _held(cycle: Cycle, feed: Feed, batch: Landed, part: Slice) -> pa.Table:
    """Return what was known before of the slice's days in the batch's window."""
    window = part.held_window(batch)
    if feed.day is not None and window is None:
        return feed.schema.empty_table()
    return held_facts(cycle, feed, window)


def _newest_day(connection: duckdb.DuckDBPyConnection, cycle: Cycle, feed: Feed) -> date | None:
    if feed.day is None:
        return None
    sql = f'SELECT max("{feed.day}") FROM slice WHERE "{feed.day}" <= $day'  # noqa: S608 - a contract's name
    newest: date | None = connection.sql(sql, params={"day": cycle.as_of}).fetchall()[0][0]
    return newest


def _judged_whole(cycle: Cycle, feed: Feed, batch: Landed, judge: Judge, tally: Tally) -> list[Outcome]:
    """Return what the rules about the batch as a whole have found."""
    frame, words = profile_of(cycle, feed, batch, judge.suite, tally)
    whole = Judge(load_suite(_BATCH_SUITE, parameters_of(cycle, feed.name) | words, feed=feed.name))
    whole.judge(frame)
    return whole.outcomes


def _refuse_if_blocked(cycle: Cycle, feed: Feed, outcomes: list[Outcome], page: Path) -> None:
    broken = [outcome for outcome in outcomes if outcome.broken and outcome.rule.severity == "critical"]
    if broken:
        problems = "; ".join(f"{outcome.rule.reason} (rule '{outcome.rule.name}')" for outcome in broken)
        msg = (
            f"The batch '{feed.name}' of {cycle.key} is refused: {problems}. Nothing of it entered the lake; mend the "
            f"source and run the cycle again ({page})."
        )
        raise GateError(msg)


def _commit_ledger(attempt: Attempt, batch: Landed, report: ValidateReport, tally: Tally) -> None:
    names = ("landed", "accepted", "quarantined", "duplicates", "released", "revised")
    row = {name: getattr(report, name) for name in names} | {
        "since": batch.since,
        "until": batch.until,
        "initial": batch.initial,
        "grain": batch.grain,
        "rules": json.dumps(dict(sorted(tally.rules.items()))),
    }
    attempt.commit(pa.Table.from_pylist([row]))
