"""From raw lines to facts inside the database: one expression a feed, whatever the dialect.

The rules are those by which the gate sums up lines that landed. Money and units are summed as whole ten-thousandths,
so that neither the order of rows nor a database's idea of a decimal can change a sum.
"""

from collections.abc import Callable, Mapping

import ibis
import ibis.expr.types as ir

from pipeline.feeds import LARGEST_NUMBER, FeedName

__all__ = ["FACTS", "IN_PARTS", "PARTS"]

PARTS = 10_000
"""Sums are counted in so many parts of one."""
IN_PARTS = frozenset({"units", "revenue", "returns"})
"""The summed columns that hold parts."""

_EVENTS = {"views": "view", "cart_adds": "cart", "favourites": "favourite", "searches": "search"}


def _sales(lines: ir.Table) -> ir.Table:
    """Return daily sales: a line that the gate would not let in leaves its whole fact without units, to be refused."""
    counted = _without_undone_sales(_in_parts(lines.distinct()))
    sold = counted.units > 0
    facts = counted.group_by("item", "location", "date").agg(
        unreadable=counted.count(where=~counted.is_readable),
        units=_sum(counted.unit_parts, sold),
        revenue=ibis.ifelse(counted.revenue.count() > 0, _sum(counted.revenue_parts, sold), ibis.null("int64")),
        orders=counted.order_id.nunique(where=sold),
        buyers=counted.customer.nunique(where=sold),
        returns=-_sum(counted.unit_parts, counted.units < 0),
    )
    bounded = {name: _bounded(facts[name]) for name in ("units", "revenue", "returns")}
    missing = (facts.unreadable > 0) | (facts.revenue.notnull() & bounded["revenue"].isnull())
    return facts.mutate(**bounded | {"units": ibis.ifelse(missing, ibis.null("int64"), bounded["units"])}).drop(
        "unreadable"
    )


def _behaviour(events: ir.Table) -> ir.Table:
    """Return the daily counts of the events that the contract knows."""
    events = events.distinct()
    known = events.filter(events.event.isin(list(_EVENTS.values())) & events.timestamp.notnull())
    counts = {column: known.count(where=known.event == event) for column, event in _EVENTS.items()}
    return known.group_by("item", "location", "date").agg(**counts, visitors=known.user.nunique())


def _in_parts(lines: ir.Table) -> ir.Table:
    """Return the lines that say something of sales, with their numbers in whole parts, null where they are none."""
    counted = lines.mutate(unit_parts=_parts(lines.units), revenue_parts=_parts(lines.revenue))
    has_units = counted.unit_parts.notnull()
    has_revenue = counted.revenue.isnull() | counted.revenue_parts.notnull()
    has_order = (counted.order_id.strip() != "").fill_null(False)
    counted = counted.mutate(is_readable=has_units & has_revenue & has_order)
    return counted.filter(~counted.is_readable | (counted.units != 0))


def _parts(number: ir.NumericValue) -> ir.IntegerValue:
    """Return a number in whole parts; NaN, and what is larger than any, is no number."""
    readable = ibis.ifelse(number.between(-LARGEST_NUMBER, LARGEST_NUMBER), number, ibis.null())
    # Wide enough for the product: DuckDB lets decimals of up to 18 digits overflow instead of widening them.
    return (readable.cast("decimal(22, 4)") * PARTS).round().cast("int64")


def _bounded(parts: ir.IntegerValue) -> ir.IntegerValue:
    """Return a sum, unless it is larger than any number of a fact."""
    largest = int(LARGEST_NUMBER) * PARTS
    return ibis.ifelse(parts.between(-largest, largest), parts, ibis.null("int64"))


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
    return paired.filter(paired.customer.isnull() | ~paired.is_readable | (paired.number >= paired.pairs))


def _lines(condition: ir.BooleanValue, window: ir.Value) -> ir.IntegerValue:
    """Return how many lines of the window a condition holds for."""
    return ibis.ifelse(condition, 1, 0).sum().over(window)


def _sum(parts: ir.IntegerValue, condition: ir.BooleanValue) -> ir.IntegerValue:
    return parts.sum(where=condition).coalesce(0)


FACTS: Mapping[FeedName, Callable[[ir.Table], ir.Table]] = {"sales": _sales, "behaviour": _behaviour}
"""How the raw lines of a feed become its facts."""
