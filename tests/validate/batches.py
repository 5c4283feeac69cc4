"""Batches as some source might deliver them, put into the landing zone for the gate, and what is known of them."""

from datetime import timedelta
from typing import Any

import pyarrow as pa

from pipeline import collect
from pipeline.cycle import Cycle
from pipeline.feeds import FEEDS, FeedName, Grain
from tests.conftest import AS_OF, HISTORY_START

ALL_FEEDS = {feed: {"source": "files", "path": "sales.csv"} for feed in FEEDS}
NEXT_DAY = AS_OF + timedelta(days=1)


def put(cycle: Cycle, feed: FeedName, rows: list[dict[str, Any]], grain: Grain = "lines", **window: Any) -> None:
    """Land rows as some source might deliver them."""
    window = {"since": HISTORY_START, "until": cycle.as_of, "initial": True} | window
    columns = [column.with_nullable(nullable=True) for column in FEEDS[feed].landed_schema(grain)]
    with collect.land(cycle, feed, grain=grain, **window) as landing:
        landing.write(pa.RecordBatch.from_pylist(rows, schema=pa.schema(columns)))


def line(**changes: Any) -> dict[str, Any]:
    """Return an order line."""
    usual = {"order_id": "A1", "item": "SKU01", "location": "all", "date": AS_OF, "units": 2.0, "revenue": 6.0}
    return usual | changes


def known(cycle: Cycle, feed: FeedName) -> list[dict[str, Any]]:
    """Return the facts as the cycle knows them, by their key."""
    facts = cycle.lake.as_of(feed, FEEDS[feed].key, cycle.as_of).to_pylist()
    return sorted(facts, key=lambda fact: [str(fact[column]) for column in FEEDS[feed].key])


def lake_of(cycle: Cycle) -> dict[str, list[str]]:
    """Return all rows of the lake's tables."""
    return {name: sorted(map(repr, cycle.lake.read(name).to_pylist())) for name in cycle.lake.tables()}
