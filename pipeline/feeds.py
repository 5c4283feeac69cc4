"""The feeds' contracts: schema, key and grain of what is collected, declared once."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline.market import FeedName

__all__ = ["FEEDS", "Feed", "Grain"]

Grain = Literal["facts", "lines"]
"""`facts`: one row a key, as the lake keeps it. `lines`: raw order lines, which the gate aggregates after checking."""


@dataclass(frozen=True)
class Feed:
    """What a feed delivers and how its rows are told apart."""

    name: FeedName
    about: str
    schema: pa.Schema
    """Columns of a fact; nullable ones may be missing from a source."""
    key: tuple[str, ...]
    day: str | None
    """The column that says which day a row is about; None where rows are about no day."""
    lines: pa.Schema | None = None
    """Columns of a raw line, where the feed can be landed at that grain."""
    line_key: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    """Columns of a raw line that never pass the landing zone."""

    def landed_schema(self, grain: Grain) -> pa.Schema:
        """Return the schema of a landed batch of this grain."""
        if grain == "facts":
            return self.schema
        if self.lines is None:
            msg = f"the feed '{self.name}' has no raw lines"
            raise ValueError(msg)
        return self.lines

    def landed_key(self, grain: Grain) -> tuple[str, ...]:
        """Return the key of a landed batch of this grain."""
        return self.key if grain == "facts" else self.line_key


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_ITEM_DAY = [_required("item", pa.string()), _required("location", pa.string()), _required("date", pa.date32())]

FEEDS: dict[FeedName, Feed] = {
    feed.name: feed
    for feed in (
        Feed(
            name="sales",
            about="Units sold of an item at a location on a day.",
            schema=pa.schema(
                [
                    *_ITEM_DAY,
                    _required("units", pa.float64()),
                    pa.field("revenue", pa.float64()),
                    pa.field("orders", pa.int64()),
                    pa.field("buyers", pa.int64()),
                ]
            ),
            key=("item", "location", "date"),
            day="date",
            lines=pa.schema(
                [
                    _required("order_id", pa.string()),
                    *_ITEM_DAY,
                    _required("units", pa.float64()),
                    pa.field("revenue", pa.float64()),
                    pa.field("customer", pa.string()),
                ]
            ),
            line_key=("order_id", "item"),
            personal=("customer",),
        ),
        Feed(
            name="prices",
            about="List and selling price of one unit.",
            schema=pa.schema([*_ITEM_DAY, pa.field("list_price", pa.float64()), _required("price", pa.float64())]),
            key=("item", "location", "date"),
            day="date",
        ),
        Feed(
            name="promotions",
            about="When, how and how widely an item is promoted.",
            schema=pa.schema(
                [
                    _required("item", pa.string()),
                    _required("location", pa.string()),
                    _required("start", pa.date32()),
                    _required("end", pa.date32()),
                    _required("kind", pa.string()),
                    _required("depth", pa.float64()),
                ]
            ),
            key=("item", "location", "start", "kind"),
            day="start",
        ),
        Feed(
            name="catalogue",
            about="What an item is: its place in the hierarchy and its brand.",
            schema=pa.schema(
                [
                    _required("item", pa.string()),
                    pa.field("title", pa.string()),
                    pa.field("department", pa.string()),
                    pa.field("category", pa.string()),
                    pa.field("type", pa.string()),
                    pa.field("brand", pa.string()),
                ]
            ),
            key=("item",),
            day=None,
        ),
        Feed(
            name="calendar",
            about="Days on which people shop differently.",
            schema=pa.schema(
                [_required("country", pa.string()), _required("date", pa.date32()), _required("event", pa.string())]
            ),
            key=("country", "date", "event"),
            day="date",
        ),
    )
}
"""Every feed that a market can have."""
