"""The landing zone's end: batches past their retention, and what killed attempts have left beside them."""

import re
import shutil
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

__all__ = ["remove_old_batches"]

GRACE = timedelta(days=1)
"""A batch that was put down within this time is left alone: a backfill may be about to read it."""

_BATCH = re.compile(r"\.?(?P<day>\d{4}-\d{2}-\d{2})(\.[0-9a-f]+)?")
"""A batch's folder, or with a dot before and a random part behind it one that was never finished."""


def remove_old_batches(landing: Path, oldest: date) -> int:
    """Remove what landed of any feed for as-of days before the oldest one to keep, and return how many batches went.

    The age of a batch is that of its as-of day. By the clock goes only the grace for what was put down just now.

    Args:
        landing: a market's folder of the landing zone, `<feed>/<day>` below it.
        oldest: first as-of day whose batches are kept.
    """
    removed = 0
    for batch in list(_batches_before(landing, oldest)):
        try:
            if time.time() - batch.stat().st_mtime < GRACE.total_seconds():
                continue
            # Out of sight first: whoever is killed half-way through leaves no batch that looks whole.
            doomed = batch.rename(batch.with_name(f".{batch.name.lstrip('.')[:10]}.{uuid4().hex}"))
        except FileNotFoundError:
            continue  # another maintenance was faster
        shutil.rmtree(doomed, ignore_errors=True)
        removed += 1
    return removed


def _batches_before(landing: Path, oldest: date) -> Iterator[Path]:
    for folder in sorted(landing.glob("*/*")):
        named = _BATCH.fullmatch(folder.name)
        if named and folder.is_dir() and date.fromisoformat(named["day"]) < oldest:
            yield folder
