"""The landing zone: batches as they came, a folder a feed and cycle, put down whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS, FeedName, Grain

__all__ = ["Landed", "land", "landed"]

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Landed:
    """A batch in the landing zone."""

    folder: Path
    grain: Grain
    rows: int
    since: date
    until: date
    initial: bool

    def read(self) -> pa.Table:
        """Return the landed rows in the order in which they came."""
        return ds.dataset(self.folder / "rows.parquet").to_table()


@dataclass
class _Landing:
    """An open batch: rows are appended until it is put down."""

    file: Path
    schema: pa.Schema
    rows: int = 0
    _writer: pq.ParquetWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = pq.ParquetWriter(self.file, self.schema, compression="zstd")

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch.cast(self.schema))
        self.rows += batch.num_rows

    def close(self) -> None:
        self._writer.close()


@contextmanager
def land(cycle: Cycle, feed: FeedName, *, grain: Grain, since: date, until: date, initial: bool) -> Iterator[_Landing]:
    """Open a batch of a feed for writing; it appears in the landing zone when the block ends without an error."""
    target = cycle.landing_dir(feed)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    folder = target.with_name(f".{target.name}.{uuid4().hex}")
    folder.mkdir()
    landing = _Landing(folder / "rows.parquet", _nullable(FEEDS[feed].landed_schema(grain)))
    try:
        yield landing
        landing.close()
        manifest = {"grain": grain, "rows": landing.rows, "since": str(since), "until": str(until), "initial": initial}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    except BaseException:
        landing.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def landed(cycle: Cycle, feed: FeedName) -> Landed:
    """Return the batch that this cycle has landed of a feed.

    Raises:
        StageError: if there is none.
    """
    folder = cycle.landing_dir(feed)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        msg = f"Nothing of the feed '{feed}' has landed for {cycle.key}; run 'trendmill collect' for it first."
        raise StageError(msg) from exc
    return Landed(
        folder,
        manifest["grain"],
        manifest["rows"],
        date.fromisoformat(manifest["since"]),
        date.fromisoformat(manifest["until"]),
        manifest["initial"],
    )


def _nullable(schema: pa.Schema) -> pa.Schema:
    """A landed row may lack anything: saying so is the gate's work."""
    return pa.schema([column.with_nullable(nullable=True) for column in schema])


def _remove_leftovers(target: Path) -> None:
    """Remove what attempts that were killed have left beside the target."""
    for folder in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(folder, ignore_errors=True)
