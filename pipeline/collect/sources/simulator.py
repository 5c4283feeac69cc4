"""The market simulator as a source: all feeds of a market that name it tell of one and the same world."""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.collect.sources.base import BATCH_ROWS, Window
from pipeline.errors import SourceError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market
from pipeline.simulate.answers import GRAINS, Shop
from pipeline.sources import SimulatorSource

__all__ = ["Simulator"]


class Simulator:
    """Every feed, as raw lines where the feed has them and the market does not ask for facts."""

    def __init__(self, settings: SimulatorSource, market: Market) -> None:
        self._grain: Grain = settings.grain
        self._world = market.simulator
        self._market = market.name

    def grain(self, feed: Feed) -> Grain:
        """Return the grain that the market asks for, or `facts` where the feed has no lines.

        Raises:
            SourceError: if the market's world has no visitors, and their behaviour is asked for.
        """
        if feed.name == "behaviour" and not self._world.events:
            msg = (
                f"The market '{self._market}' asks for the feed 'behaviour', but simulates no visitors; set "
                f"simulator.events to true in its file, or remove the feed."
            )
            raise SourceError(msg)
        return self._grain if self._grain in GRAINS[feed.name] else "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows of the window, as its source would have told them on the as-of day.

        Broken rows come with the day on which they were made, whatever day stands in them.
        """
        tables = Shop(self._world).answer(
            feed, self.grain(feed), since=window.since, until=window.until, as_of=window.as_of
        )
        return _batches(tables)


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of many small tables in batches of a good size."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += table.num_rows
        if rows >= BATCH_ROWS:
            yield from _whole(held)
            held, rows = [], 0
    if rows:
        yield from _whole(held)


def _whole(tables: list[pa.Table]) -> Iterator[pa.RecordBatch]:
    yield from pa.concat_tables(tables).combine_chunks().to_batches(max_chunksize=BATCH_ROWS)
