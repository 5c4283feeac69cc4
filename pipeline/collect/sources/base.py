"""The protocol that every source adapter keeps."""

from collections.abc import Iterator
from datetime import date
from typing import Protocol

import pyarrow as pa

from pipeline.feeds import Feed, Grain

__all__ = ["BATCH_ROWS", "Source"]

BATCH_ROWS = 250_000
"""Rows a batch: enough for speed, few enough for memory."""


class Source(Protocol):
    """Somebody else's data, delivered as a feed's contract asks."""

    def grain(self, feed: Feed) -> Grain:
        """Return whether this source delivers facts or raw lines of the feed."""
        ...

    def fetch(self, feed: Feed, since: date, until: date) -> Iterator[pa.RecordBatch]:
        """Yield the rows about the days from `since` to `until`, in the columns of the feed's landed schema.

        Raises:
            SourceError: if the source cannot be read or lacks what the contract requires.
        """
        ...
