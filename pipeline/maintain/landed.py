"""The landing zone's end: batches past their retention, and what killed attempts have left beside them."""

import time
from datetime import date, timedelta
from pathlib import Path

from pipeline.collect import batches_before, remove_batch

__all__ = ["remove_old_batches"]

GRACE = timedelta(days=1)
"""A batch that was put down within this time is left alone: a backfill may be about to read it."""


def remove_old_batches(landing: Path, oldest: date) -> int:
    """Remove what landed of any feed for as-of days before the oldest one to keep, and return how many batches went.

    The age of a batch is that of its as-of day. By the clock goes only the grace for what was put down just now.

    Args:
        landing: a market's folder of the landing zone.
        oldest: first as-of day whose batches are kept.
    """
    removed = 0
    for batch in list(batches_before(landing, oldest)):
        try:
            if time.time() - batch.stat().st_mtime < GRACE.total_seconds():
                continue
            remove_batch(batch)
        except FileNotFoundError:
            continue  # another maintenance was faster
        removed += 1
    return removed
