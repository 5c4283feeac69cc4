"""Registers the winner of a cycle and lets it become the champion; the ledger `champions` says when and why."""

from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline import tracking
from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.provenance import provenance
from pipeline.stage import StageReport

__all__ = ["PromoteReport", "run"]


@dataclass(frozen=True)
class PromoteReport(StageReport):
    """A row of the ledger: which version publishes this cycle, and whether it became the champion."""

    candidate: str
    version: int
    previous: int | None
    """The champion before this cycle."""
    promoted: bool
    evidence: str

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        outcome = "is the champion" if self.promoted else "publishes this cycle, but a later one holds the championship"
        return f"Version {self.version} ({self.candidate}) {outcome}."


def run(cycle: Cycle) -> PromoteReport:
    """Register the verdict's winner and move the alias `champion` to it, unless a later cycle has moved it already.

    The ledger row is committed before the alias moves, so that a repeat after any interruption ends the same.

    Raises:
        StageError: if the cycle has no verdict.
        FencedError: if another attempt has committed the same promotion meanwhile.
    """
    attempt = cycle.lake.attempt("champions", cycle=cycle.as_of)
    verdict = cycle.lake.read("verdicts", cycle=cycle.as_of).to_pylist() if cycle.lake.exists("verdicts") else []
    if not verdict:
        msg = f"{cycle.key} has no verdict yet; run 'trendmill evaluate' for it first."
        raise StageError(msg)
    winner = verdict[0]["winner"]
    version = tracking.register(cycle, winner)
    evidence = f"wql {verdict[0]['wql']:.6f} against {verdict[0]['baseline_wql']:.6f} of {verdict[0]['baseline']}"
    report = PromoteReport(winner, version, _champion_before(cycle), not _later_champion(cycle), evidence)
    schema = pa.schema(
        [
            ("candidate", pa.string()),
            ("version", pa.int64()),
            ("previous", pa.int64()),
            ("promoted", pa.bool_()),
            ("evidence", pa.string()),
        ]
    )
    attempt.commit(pa.Table.from_pylist([report.as_dict()], schema=schema), **provenance())
    if report.promoted and _later_champion(cycle):
        # A later cycle has won between our look and our commit: the alias is its own.
        report = replace(report, promoted=False)
        again = cycle.lake.attempt("champions", cycle=cycle.as_of)
        again.commit(pa.Table.from_pylist([report.as_dict()], schema=schema), **provenance())
    if report.promoted:
        tracking.move_champion(cycle, version, report.previous)
    return report


def _champion_before(cycle: Cycle) -> int | None:
    if not cycle.lake.exists("champions"):
        return None
    sql = "SELECT arg_max(version, cycle) AS version FROM champions WHERE promoted AND cycle < $cycle"
    return cycle.lake.query(sql, ["champions"], cycle=cycle.as_of)["version"][0].as_py()


def _later_champion(cycle: Cycle) -> bool:
    if not cycle.lake.exists("champions"):
        return False
    sql = "SELECT count(*) > 0 AS later FROM champions WHERE promoted AND cycle > $cycle"
    return bool(cycle.lake.query(sql, ["champions"], cycle=cycle.as_of)["later"][0].as_py())
