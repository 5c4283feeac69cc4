"""Upkeep of a table: small files joined, the log made short, what no version needs any more removed.

Ages are taken by the clock here, as Delta does. This is housekeeping: it changes no row, and no result depends on it.
"""

from dataclasses import dataclass

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipeline.errors import FencedError
from pipeline.lake.lake import PARQUET, Lake, backoff_seconds
from pipeline.lake.storage import unless_silent

__all__ = ["Tended", "tend"]

FILE_BYTES = 64 * 1024**2
"""Files are joined up to this size; one that has reached it is never written again."""
GRACE_DAYS = 1
"""Files that no version names are left alone for at least this long: somebody may be about to commit them."""
LOG_DAYS = 30
"""Delta's own age of log entries beyond which they are folded into a checkpoint."""


@dataclass(frozen=True)
class Tended:
    """What was done to a table."""

    table: str
    files_before: int
    files_after: int
    files_removed: int
    """Files of old versions, and of attempts that were killed before their commit."""


def tend(lake: Lake, table: str, versions_days: int) -> Tended:
    """Join a table's small files, shorten its log, and remove what is not needed any more.

    Nights may read and write meanwhile: whoever opened a version before keeps it, a night's commit goes before the
    joining of files, which is then begun again. Done twice it changes nothing more, and it may be killed at any point.

    Args:
        lake: the market's tables.
        table: the table's name; it must exist.
        versions_days: for how many days old versions stay readable; 0 takes all but the newest.

    Raises:
        FencedError: if the table is written so often that joining its files never got through.
        LakeUnavailableError: if an object store does not answer.
    """
    with unless_silent(lake.root):
        before = len(_opened(lake, table).file_uris())
        _keep_log(_opened(lake, table), versions_days)
        _join_files(lake, table)
        opened = _opened(lake, table)
        opened.create_checkpoint()
        opened.cleanup_metadata()
        removed = _vacuum(opened, versions_days)
        return Tended(table, before, len(opened.file_uris()), removed)


def _opened(lake: Lake, table: str) -> DeltaTable:
    opened = lake.open(table)
    if opened is None:
        msg = f"there is no table '{table}' in {lake.place}"
        raise ValueError(msg)
    return opened


def _keep_log(table: DeltaTable, versions_days: int) -> None:
    """Have the log reach as far back as versions are to be readable."""
    name, wanted = "delta.logRetentionDuration", f"interval {max(versions_days, LOG_DAYS)} days"
    held = table.metadata().configuration.get(name, f"interval {LOG_DAYS} days")
    if held != wanted:
        table.alter.set_table_properties({name: wanted})


def _join_files(lake: Lake, table: str) -> None:
    """Join neighbouring small files in the order in which they were committed, so that days stay close together."""
    for _ in backoff_seconds():
        try:
            # One at a time: memory does not grow with the table.
            _opened(lake, table).optimize.compact(
                target_size=FILE_BYTES, max_concurrent_tasks=1, writer_properties=PARQUET
            )
        except CommitFailedError:
            continue
        else:
            return
    msg = f"The table '{table}' is written too often to join its files; run the maintenance again at a quieter hour."
    raise FencedError(msg)


def _vacuum(table: DeltaTable, versions_days: int) -> int:
    """Remove files that only old versions name, and those that none does, and return how many."""
    removed = 0
    for days, full in ((versions_days, False), (max(versions_days, GRACE_DAYS), True)):
        options = {"retention_hours": days * 24, "enforce_retention_duration": False, "full": full}
        found = table.vacuum(dry_run=True, **options)
        if found:  # without this, each vacuum would leave two notes in the log
            table.vacuum(dry_run=False, **options)
        removed += len(found)
    return removed
