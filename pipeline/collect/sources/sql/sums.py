"""From raw lines to facts inside the database: one expression a feed, whatever the dialect.

The rules are those by which the gate sums up lines that landed. Money and units are summed as whole ten-thousandths,
so that neither the order of rows nor a database's idea of a decimal can change a sum.
"""

from collections.abc import Callable, Mapping

import ibis
import ibis.expr.types as ir

from pipeline.feeds import FeedName

__all__ = ["FACTS", "IN_PARTS", "PARTS"]

PARTS = 10_000
"""Sums are counted in so many parts of one."""
IN_PARTS = frozenset({"units", "revenue", "returns"})
"""The summed columns that hold parts."""

_LARGEST = 1e11
"""What is larger, or no number at all such as NaN, is no number of units and no money."""
_EVENTS = {"views": "view", "cart_adds": "cart", "favourites": "favourite", "searches": "search"}


def _sales(lines: ir.Table) -> ir.Table:
    """Return daily sales: a line that cannot be read leaves its whole fact without units, for the gate to refuse."""
    counted = _without_undone_sales(_in_parts(lines.distinct()))
    sold = counted.units > 0
    return counted.group_by("item", "location", "date").agg(
        units=ibis.ifelse(counted.units.count() == counted.count(), _sum(counted.units, sold), ibis.null("int64")),
        revenue=ibis.ifelse(counted.revenue.count() > 0, _sum(counted.revenue, sold), ibis.null("int64")),
        orders=counted.order_id.nunique(where=sold),
        buyers=counted.customer.nunique(where=sold),
        returns=-_sum(counted.units, counted.units < 0),
    )


def _behaviour(events: ir.Table) -> ir.Table:
    """Return the daily counts of the events that the contract knows."""
    events = events.distinct()
    known = events.filter(events.event.isin(list(_EVENTS.values())))
    counts = {column: known.count(where=known.event == event) for column, event in _EVENTS.items()}
    return known.group_by("item", "location", "date").agg(**counts, visitors=known.user.nunique())


def _in_parts(lines: ir.Table) -> ir.Table:
    """Return the lines that say something of sales, their numbers in whole parts, null where they cannot be read."""
    counted = lines.mutate(units=_parts(lines.units), revenue=_parts(lines.revenue))
    return counted.filter(counted.units.isnull() | (counted.units != 0))


def _parts(number: ir.NumericValue) -> ir.IntegerValue:
    readable = ibis.ifelse(number.between(-_LARGEST, _LARGEST), number, ibis.null())
    return (readable.cast("decimal(18, 4)") * PARTS).round().cast("int64")


def _without_undone_sales(lines: ir.Table) -> ir.Table:
    """Return the lines without the pairs of a sale and a return of the same units by one customer on one day."""
    sized = lines.mutate(size=lines.units.abs())
    place = ["item", "location", "date", "customer"]
    same_size = ibis.window(group_by=[*place, "size"])
    same_units = ibis.window(group_by=[*place, "units"], order_by=["order_id", "line", "revenue"])
    paired = sized.mutate(
        pairs=ibis.least(_lines(sized.units > 0, same_size), _lines(sized.units < 0, same_size)),
        number=ibis.row_number().over(same_units),
    )
    return paired.filter(paired.customer.isnull() | paired.units.isnull() | (paired.number >= paired.pairs))


def _lines(condition: ir.BooleanValue, window: ir.Value) -> ir.IntegerValue:
    """Return how many lines of the window a condition holds for."""
    return ibis.ifelse(condition, 1, 0).sum().over(window)


def _sum(parts: ir.IntegerValue, condition: ir.BooleanValue) -> ir.IntegerValue:
    return parts.sum(where=condition).coalesce(0)


FACTS: Mapping[FeedName, Callable[[ir.Table], ir.Table]] = {"sales": _sales, "behaviour": _behaviour}
"""How the raw lines of a feed become its facts."""
