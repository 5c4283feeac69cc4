"""The feeds' contracts: schema, key, grain and the role of each column, declared once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

__all__ = ["ANY", "FEEDS", "LARGEST_NUMBER", "Feed", "FeedName", "Grain", "Role"]

FeedName = Literal["sales", "behaviour", "stock", "prices", "promotions", "catalogue", "market", "calendar"]

Grain = Literal["facts", "lines"]
"""`facts`: one row a key, as the lake keeps it. `lines`: raw order lines or click events, which are summed up."""

Role = Literal["key", "target", "past", "known", "static", "mask", "about"]
"""What a column is to a model: known only after the day, known ahead, without a day, or a mask of unseen demand."""

LARGEST_NUMBER = 1e12
"""No units, no money and no other number of a fact is larger; it leaves room in whatever sums are taken in."""

ANY = "*"
"""In a key column: the row is about every item, category, location or region."""


@dataclass(frozen=True)
class Feed:
    """What a feed delivers and how its rows are told apart."""

    name: FeedName
    about: str
    schema: pa.Schema
    """Columns of a fact; nullable ones may be missing from a source."""
    key: tuple[str, ...]
    day: str | None
    """The column that says which day a row is about, or the first one; None where rows are about no day."""
    roles: Mapping[str, Role]
    """Role of each column that is not part of the key."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """What stands in for a required column that a source does not tell apart."""
    people: tuple[str, ...] = ()
    """Columns of a fact that count people; a count below the market's group size is suppressed."""
    lines: pa.Schema | None = None
    """Columns of a raw line, where the feed can be landed at that grain."""
    line_marks: tuple[str, ...] = ()
    """Columns by which a source shows that it delivers raw lines."""
    line_key: tuple[str, ...] = ()
    """Columns that tell raw lines apart where all of them are given; else only word-for-word repeats are known."""
    personal: tuple[str, ...] = ()
    """Columns of a raw line that never pass the landing zone."""
    last_day: str | None = None
    """The column that says until which day a row tells of something, where it is not `day` alone."""

    @property
    def looks_ahead(self) -> bool:
        """Whether rows may be about days to come."""
        return "known" in self.roles.values()

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
_ONE_PLACE = {"location": "all"}

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
                    pa.field("returns", pa.float64()),
                ]
            ),
            key=("item", "location", "date"),
            day="date",
            roles={"units": "target", "revenue": "past", "orders": "past", "buyers": "past", "returns": "past"},
            defaults=_ONE_PLACE,
            people=("buyers",),
            lines=pa.schema(
                [
                    _required("order_id", pa.string()),
                    pa.field("line", pa.string()),
                    *_ITEM_DAY,
                    _required("units", pa.float64()),
                    pa.field("revenue", pa.float64()),
                    pa.field("customer", pa.string()),
                ]
            ),
            line_marks=("order_id",),
            line_key=("order_id", "line"),
            personal=("customer",),
        ),
        Feed(
            name="behaviour",
            about="What visitors did with an item at a location on a day, short of buying it.",
            schema=pa.schema(
                [
                    *_ITEM_DAY,
                    pa.field("views", pa.int64()),
                    pa.field("cart_adds", pa.int64()),
                    pa.field("favourites", pa.int64()),
                    pa.field("searches", pa.int64()),
                    pa.field("visitors", pa.int64()),
                ]
            ),
            key=("item", "location", "date"),
            day="date",
            roles={
                "views": "past",
                "cart_adds": "past",
                "favourites": "past",
                "searches": "past",
                "visitors": "past",
            },
            defaults=_ONE_PLACE,
            people=("visitors",),
            lines=pa.schema(
                [
                    pa.field("event_id", pa.string()),
                    *_ITEM_DAY,
                    _required("timestamp", pa.timestamp("us")),
                    _required("event", pa.string()),
                    pa.field("user", pa.string()),
                ]
            ),
            line_marks=("event",),
            line_key=("event_id",),
            personal=("user",),
        ),
        Feed(
            name="stock",
            about="What was on hand at a location at a day's end, and for how much of the day it could be bought.",
            schema=pa.schema([*_ITEM_DAY, pa.field("on_hand", pa.float64()), pa.field("in_stock_share", pa.float64())]),
            key=("item", "location", "date"),
            day="date",
            roles={"on_hand": "past", "in_stock_share": "mask"},
            defaults=_ONE_PLACE,
        ),
        Feed(
            name="prices",
            about="List and selling price of one unit; rows after the as-of day are a plan.",
            schema=pa.schema([*_ITEM_DAY, pa.field("list_price", pa.float64()), _required("price", pa.float64())]),
            key=("item", "location", "date"),
            day="date",
            roles={"list_price": "past", "price": "known"},
            defaults=_ONE_PLACE,
        ),
        Feed(
            name="promotions",
            about="When, how and how deeply an item or a category is promoted.",
            schema=pa.schema(
                [
                    _required("item", pa.string()),
                    _required("category", pa.string()),
                    _required("location", pa.string()),
                    _required("start", pa.date32()),
                    _required("end", pa.date32()),
                    _required("kind", pa.string()),
                    _required("depth", pa.float64()),
                    pa.field("channel", pa.string()),
                    pa.field("planned", pa.bool_()),
                ]
            ),
            key=("item", "category", "location", "start", "kind"),
            day="start",
            roles={"end": "known", "depth": "known", "channel": "about", "planned": "about"},
            defaults={"item": ANY, "category": ANY, "location": ANY},
            last_day="end",
        ),
        Feed(
            name="catalogue",
            about="What an item is: its text, its place in the hierarchy, its brand, its life.",
            schema=pa.schema(
                [
                    _required("item", pa.string()),
                    pa.field("title", pa.string()),
                    pa.field("department", pa.string()),
                    pa.field("category", pa.string()),
                    pa.field("type", pa.string()),
                    pa.field("brand", pa.string()),
                    pa.field("attributes", pa.string()),
                    pa.field("launched", pa.date32()),
                    pa.field("discontinued", pa.date32()),
                ]
            ),
            key=("item",),
            day=None,
            roles={
                "title": "static",
                "department": "static",
                "category": "static",
                "type": "static",
                "brand": "static",
                "attributes": "static",
                "launched": "static",
                "discontinued": "static",
            },
        ),
        Feed(
            name="market",
            about="Variables of the market's surroundings: weather, indices, advertising, opening days.",
            schema=pa.schema(
                [
                    _required("variable", pa.string()),
                    _required("region", pa.string()),
                    _required("location", pa.string()),
                    _required("item", pa.string()),
                    _required("date", pa.date32()),
                    _required("value", pa.float64()),
                ]
            ),
            key=("variable", "region", "location", "item", "date"),
            day="date",
            roles={"value": "known"},  # or known after the day only, as the market's `variables` say of each
            defaults={"region": ANY, "location": ANY, "item": ANY},
        ),
        Feed(
            name="calendar",
            about="Days on which people shop differently.",
            schema=pa.schema(
                [
                    _required("country", pa.string()),
                    _required("date", pa.date32()),
                    _required("event", pa.string()),
                    _required("kind", pa.string()),
                ]
            ),
            key=("country", "date", "event"),
            day="date",
            roles={"kind": "known"},
            defaults={"kind": "public_holiday"},
        ),
    )
}
"""Every feed that a market can have; only `sales` is required."""
