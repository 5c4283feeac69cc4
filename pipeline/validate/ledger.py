"""The ledger of landed batches: for each feed and cycle, where every landed row went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pipeline.lake import Lake

__all__ = ["LedgerLine", "ledger_lines"]


@dataclass(frozen=True)
class LedgerLine:
    """What became of one landed batch."""

    cycle: date
    feed: str
    landed: int
    accepted: int
    quarantined: int
    duplicates: int
    waiting: int
    """Rows that the table `quarantine` holds of this batch."""
    released: int
    """Rows among the accepted ones that people have released from quarantine."""
    revised: int
    """Facts written: new ones, changed ones and deletions."""
    since: date
    until: date
    initial: bool
    grain: str

    @property
    def balances(self) -> bool:
        """Whether no row was lost: landed = accepted + quarantined + duplicates, and the quarantined ones are there."""
        return self.landed == self.accepted + self.quarantined + self.duplicates and self.quarantined == self.waiting

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = {key: str(value) if isinstance(value, date) else value for key, value in asdict(self).items()}
        return plain | {"balances": self.balances}


def ledger_lines(
    lake: Lake, feeds: Sequence[str] | None = None, last: int | None = None, day: date | None = None
) -> list[LedgerLine]:
    """Return the ledger, the newest cycle first.

    Args:
        lake: the market's tables.
        feeds: only these feeds.
        last: only the newest so many cycles.
        day: only this cycle.
    """
    if not lake.exists("batches"):
        return []
    tables = [table for table in ("batches", "quarantine") if lake.exists(table)]
    waiting = "SELECT cycle, feed, count(*) AS waiting FROM quarantine GROUP BY cycle, feed"
    if "quarantine" not in tables:
        waiting = "SELECT NULL::DATE AS cycle, NULL::VARCHAR AS feed, 0::BIGINT AS waiting WHERE false"
    sql = f"""
        SELECT cycle, feed, landed, accepted, quarantined, duplicates, coalesce(waiting, 0) AS waiting, released,
               revised, since, "until", initial, grain
        FROM batches LEFT JOIN ({waiting}) USING (cycle, feed)
        WHERE ($feeds IS NULL OR list_contains($feeds, feed)) AND ($day IS NULL OR cycle = $day)
        QUALIFY $last IS NULL OR dense_rank() OVER (ORDER BY cycle DESC) <= $last
        ORDER BY cycle DESC, feed
    """  # noqa: S608 - no part of it comes from outside
    found = lake.query(sql, tables, feeds=None if feeds is None else list(feeds), day=day, last=last)
    return [LedgerLine(**record) for record in found.to_pylist()]
