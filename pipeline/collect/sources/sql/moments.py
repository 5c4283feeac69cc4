"""Days of the market from moments in a database: the same in every database, whatever it knows of time zones.

A database's own conversion depends on its session and its copy of the time zone data. The offsets between two zones
change a few times a year, so they are worked out here and stand in the statement as a CASE over their changes.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

__all__ = ["market_time", "start_of"]

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant at which a day begins in a zone, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def market_time(
    moment: ir.TimestampValue, written_in: ZoneInfo, market: ZoneInfo, first_day: date, last_day: date
) -> ir.TimestampValue:
    """Return the wall-clock time in the market of a wall-clock time in another zone.

    Args:
        moment: a timestamp without a time zone.
        written_in: the zone whose clock it was read from; an hour that this clock showed twice counts as the first.
        market: the market's zone.
        first_day: the first day of the market for which the result holds.
        last_day: the last such day.
    """
    if written_in.key == market.key:
        return moment
    at, end = start_of(first_day, market) - 2 * _DAY, start_of(last_day, market) + 3 * _DAY
    branches = []
    while change := _next_change(at, end, written_in, market):
        before = change - _SECOND
        wall = (change + _offset(before, written_in)).replace(tzinfo=None)
        branches.append((moment < ibis.timestamp(wall), _shifted(moment, _ahead(before, written_in, market))))
        at = change
    latest = _shifted(moment, _ahead(end, written_in, market))
    return ibis.cases(*branches, else_=latest) if branches else latest


def _next_change(first: datetime, last: datetime, *zones: ZoneInfo) -> datetime | None:
    """Return the first instant after another at which the clock of one of the zones is moved, to the second."""

    def offsets(at: datetime) -> list[timedelta]:
        return [_offset(at, zone) for zone in zones]

    now = offsets(first)
    for day in _days(first, last):
        low, high = day, day + _DAY
        if offsets(high) != now:
            while high - low > _SECOND:
                middle = low + (high - low) // (2 * _SECOND) * _SECOND
                low, high = (middle, high) if offsets(middle) == now else (low, middle)
            return high
    return None


def _days(first: datetime, last: datetime) -> Iterator[datetime]:
    while first < last:
        yield first
        first += _DAY


def _ahead(at: datetime, written_in: ZoneInfo, market: ZoneInfo) -> timedelta:
    """Return how far the market's clock is ahead of the other one at an instant."""
    return _offset(at, market) - _offset(at, written_in)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _shifted(moment: ir.TimestampValue, offset: timedelta) -> ir.TimestampValue:
    seconds = int(offset.total_seconds())
    return moment - ibis.interval(seconds=-seconds) if seconds < 0 else moment + ibis.interval(seconds=seconds)
