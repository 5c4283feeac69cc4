"""What the lake would lose if a batch were let in: days, or a whole feed, of which next to nothing has landed."""

from collections.abc import Mapping
from datetime import date
from statistics import median

from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.feeds import Feed
from pipeline.lake import Between

__all__ = ["emptied_days", "emptied_facts", "forgotten_days"]

_HELD_SHARE = 0.5
"""A day was a usual one if it had at least this share of the median day's facts,"""
_LEAST_FACTS = 10
"""and at least so many: the few of a quieter day may all be taken back."""
_LEFT_SHARE = 0.5
"""A day whose landed rows are fewer than this share of its facts is being lost, not corrected."""


def emptied_days(cycle: Cycle, batch: Landed, held: Mapping[date, int]) -> list[date]:
    """Return the days that were usual ones in the lake, and of which the source says next to nothing any more.

    Args:
        cycle: the cycle.
        batch: the landed batch.
        held: day of the batch's window -> facts that were known of it before this cycle.
    """
    return _lost_days(cycle, held, batch.days)


def forgotten_days(cycle: Cycle, feed: Feed, batch: Landed) -> list[date]:
    """Return the usual days that this cycle itself has known of, and would not any more if it were repeated like this.

    A day outside the batch's window, such as one that the cycle's first collection still reached, keeps what others
    knew of it.
    """
    written = None if feed.day is None else _days_written(cycle, feed, feed.day)
    if written is None:
        return []
    known = _facts_a_day(cycle, feed, written)
    if batch.since <= min(written) and max(written) <= batch.until:
        return _lost_days(cycle, known, batch.days)
    others = _facts_a_day(cycle, feed, written, without_cycle=cycle.as_of)
    outside = {day: facts for day, facts in others.items() if not batch.since <= day <= batch.until}
    return _lost_days(cycle, known, {**batch.days, **outside})


def emptied_facts(cycle: Cycle, feed: Feed, batch: Landed) -> int:
    """Return how many facts are known of a feed that is about no day, and of which nothing at all has landed."""
    table = f"facts/{feed.name}"
    if feed.day is not None or batch.rows or not cycle.lake.exists(table):
        return 0
    return max(_facts_known(cycle, feed), _facts_known(cycle, feed, without_cycle=cycle.as_of))


def _lost_days(cycle: Cycle, known: Mapping[date, int], left: Mapping[date, int]) -> list[date]:
    """Return the usual days up to the as-of day with too little left; days after it are a plan, and may be withdrawn.

    Days of few facts are lost together: if there is nothing about any day, or next to nothing is left of all of them.
    """
    past = {day: facts for day, facts in sorted(known.items()) if day <= cycle.as_of}
    if not past:
        return []
    lost = [day for day, facts in past.items() if left.get(day, 0) < _LEFT_SHARE * facts]
    nothing = all(day > cycle.as_of for day in left)
    all_left, all_known = sum(left.get(day, 0) for day in past), sum(past.values())
    if nothing or (all_known >= _LEAST_FACTS and all_left < _LEFT_SHARE * all_known):
        return lost
    usual = max(_LEAST_FACTS, _HELD_SHARE * median(past.values()))
    return [day for day in lost if past[day] >= usual]


def _days_written(cycle: Cycle, feed: Feed, day: str) -> tuple[date, date] | None:
    """Return the first and the last day that this cycle has written facts about; None where it has written none."""
    table = f"facts/{feed.name}"
    if not cycle.lake.exists(table):
        return None
    sql = f'SELECT min("{day}") AS "first", max("{day}") AS "last" FROM "facts_{feed.name}" WHERE cycle = $cycle'  # noqa: S608
    written = cycle.lake.query(sql, [table], cycle=cycle.as_of).to_pylist()[0]
    return None if written["first"] is None else (written["first"], written["last"])


def _facts_a_day(
    cycle: Cycle, feed: Feed, window: tuple[date, date], without_cycle: date | None = None
) -> dict[date, int]:
    """Return how many facts are known of each day of a window as of the cycle."""
    between = Between(feed.day or "", *window)
    with cycle.lake.known(feed.name, feed.key, cycle.as_of, between=between, without_cycle=without_cycle) as known:
        return dict(known.sql(f'SELECT "{feed.day}", count(*) FROM facts GROUP BY ALL').fetchall())  # noqa: S608


def _facts_known(cycle: Cycle, feed: Feed, without_cycle: date | None = None) -> int:
    with cycle.lake.known(feed.name, feed.key, cycle.as_of, without_cycle=without_cycle) as known:
        return int(known.sql("SELECT count(*) FROM facts").fetchall()[0][0])
