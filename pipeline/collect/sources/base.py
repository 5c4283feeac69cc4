"""The protocol that every source adapter keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pyarrow as pa

from pipeline.feeds import Feed, Grain

__all__ = ["BATCH_ROWS", "Source", "Window", "conform"]

BATCH_ROWS = 250_000
"""Rows a batch: enough for speed, few enough for memory."""


@dataclass(frozen=True)
class Window:
    """Which days are fetched, and on which day they are asked for."""

    since: date
    until: date
    """The last day fetched; beyond the as-of day for what is planned or known ahead."""
    as_of: date
    """A source that remembers what it knew when answers as it would have on this day."""


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch in the columns and types of a schema; nullable columns that it lacks are filled with nulls."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(
        columns, schema=pa.schema([field.with_nullable(nullable=True) for field in schema])
    )


class Source(Protocol):
    """Somebody else's data, delivered as a feed's contract asks."""

    def grain(self, feed: Feed) -> Grain:
        """Return whether this source delivers facts or raw lines of the feed."""
        ...

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows about the days of the window, in the columns of the feed's landed schema.

        Rows whose day is missing or cannot be read come with every window: where they belong is the gate's to judge.

        Raises:
            SourceError: if the source cannot be read or lacks what the contract requires.
            SourceUnavailableError: if it does not answer now, but may later.
        """
        ...
