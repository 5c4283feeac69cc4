"""The stage's front door: keep one market's lake and landing zone in good order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pipeline.cycle import Cycle
from pipeline.lake import tend
from pipeline.maintain.landed import remove_old_batches
from pipeline.stage import StageReport

__all__ = ["MaintainReport", "run"]

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class MaintainReport(StageReport):
    """What was joined and what was removed."""

    tables: int
    files_before: int
    files_after: int
    files_removed: int
    """Files of old versions, and of attempts that were killed before their commit."""
    batches_removed: int
    """Landed batches past their retention, and what killed attempts have left there."""

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return (
            f"{self.tables} tables: {self.files_before:,} files joined to {self.files_after:,}, {self.files_removed:,} "
            f"old ones removed; {self.batches_removed:,} landed batches removed."
        )


def run(cycle: Cycle, progress: Progress | None = None) -> MaintainReport:
    """Remove landed batches past their retention, then join small files and remove old versions, table by table.

    It may be run beside a night, be killed at any point, and be run again: rows are never changed, and what has been
    done stays done. What `as_of` says of any day stays the same; what goes is reading a table as it was at an old
    version number.

    Args:
        cycle: the market, and the day from which the retention of landed batches is counted back.
        progress: told after each table how many of all are done.

    Raises:
        FencedError: if a table is written so often that its files could not be joined.
        LakeUnavailableError: if the lake's store does not answer.
    """
    retention = cycle.market.retention
    oldest = cycle.as_of - timedelta(days=retention.landing_days)
    batches = remove_old_batches(cycle.home.landing / cycle.market.name, oldest)
    tended = []
    tables = cycle.lake.tables()
    for done, table in enumerate(tables, start=1):
        tended.append(tend(cycle.lake, table, retention.versions_days))
        if progress is not None:
            progress(done, len(tables), {})
    return MaintainReport(
        tables=len(tables),
        files_before=sum(one.files_before for one in tended),
        files_after=sum(one.files_after for one in tended),
        files_removed=sum(one.files_removed for one in tended),
        batches_removed=batches,
    )
