"""Which days of a feed a cycle fetches: by what the lake and the ledger hold of this cycle and of others."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow.compute as pc

from pipeline.cycle import Cycle
from pipeline.errors import ConfigError
from pipeline.feeds import Feed
from pipeline.lake import Between

__all__ = ["Span", "span_of"]

CALENDAR_AHEAD_DAYS = 366
"""How far ahead holidays are fetched: they are computed, so they are known for years."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """The days that a cycle fetches of a feed."""

    since: date
    until: date
    initial: bool
    """Whether the lake holds nothing of the feed yet, so that the whole history is fetched."""
    lost: tuple[date, date] | None = None
    """First and last of the days that no cycle has collected and the source holds no longer."""
    newer: date | None = None
    """A later cycle that has collected the feed already, where this one collects it for the first time."""


@dataclass(frozen=True)
class _Line:
    """What the ledger says of this cycle's batch."""

    since: date
    initial: bool
    revised: int


@dataclass(frozen=True)
class _Past:
    """What there is of a feed already."""

    line: _Line | None
    """This cycle's own line in the ledger."""
    earlier: date | None
    """The last cycle before this one that has left a line or facts."""
    later: date | None
    """The first cycle after this one that has."""
    others_hold_facts: bool


@dataclass(frozen=True)
class _OwnFacts:
    """The facts of this cycle, from an attempt that was ended before its line in the ledger."""

    first_day: date | None
    """None for a feed that is about no day."""
    initial: bool
    """Whether they are known from the day that they are about, as only a first load is."""


def span_of(cycle: Cycle, feed: Feed) -> Span:
    """Return which days this cycle fetches.

    A cycle that is repeated looks at the window that it looked at before, whatever cycles have run since: its rows
    replace those of its first time. A feed is fetched whole until another cycle has left facts of it.

    Raises:
        ConfigError: if a feed that is about no day is said to be kept for some days only.
    """
    market, past = cycle.market, _past(cycle, feed)
    until = cycle.as_of + timedelta(days=_days_ahead(cycle, feed))
    oldest_kept = max(_oldest_kept(cycle, feed), market.history_start)
    line = past.line
    if line is not None and (not line.initial or line.revised or not past.others_hold_facts):
        since = min(line.since, oldest_kept) if line.initial else line.since
        return Span(max(since, market.history_start), until, line.initial)
    if not past.others_hold_facts:
        return Span(oldest_kept, until, initial=True)
    own = _own_facts(cycle, feed)
    since = max(_looked_back(cycle, feed, past), oldest_kept)
    if own is None:
        return Span(since, until, initial=False, lost=_lost(past, since), newer=past.later)
    since = min(own.first_day or since, oldest_kept if own.initial else since)
    return Span(max(since, market.history_start), until, own.initial)


def _looked_back(cycle: Cycle, feed: Feed, past: _Past) -> date:
    """Return the first day to look at: some days before the last earlier cycle, so that no night is missed."""
    if feed.day is None:
        return cycle.market.history_start
    since = (past.earlier or cycle.as_of) - timedelta(days=cycle.market.look_back_days)
    return since if feed.last_day is None else _first_running(cycle, feed, feed.last_day, since)


def _first_running(cycle: Cycle, feed: Feed, last_day: str, since: date) -> date:
    """Return the earliest day of what is known to last until `since` or longer: until then it may be changed."""
    sql = f"""
        SELECT min("{feed.day}") AS first FROM "facts_{feed.name}"
        WHERE known_on <= $cycle AND cycle <> $cycle AND "{feed.day}" < $since AND "{last_day}" >= $since
    """  # noqa: S608 - names come from the feeds' contracts
    first = _asked(cycle, feed, sql, since=since)["first"]
    if feed.day is None or first is None:
        return since
    # Those revisions may be out of date; files of days outside this window are not opened.
    window = Between(feed.day, first, since - _DAY)
    known = cycle.lake.as_of(feed.name, feed.key, cycle.as_of, without_cycle=cycle.as_of, between=window)
    running = known.filter(pc.greater_equal(known[last_day], since))
    return pc.min(running[feed.day]).as_py() or since


def _lost(past: _Past, since: date) -> tuple[date, date] | None:
    """Return the days after the last earlier cycle and before the window, if there are any."""
    if past.earlier is None or since <= past.earlier + _DAY:
        return None
    return past.earlier + _DAY, since - _DAY


def _oldest_kept(cycle: Cycle, feed: Feed) -> date:
    """Return the first day that the source still holds on the as-of day."""
    keeps_days = cycle.market.feed(feed.name).keeps_days
    if keeps_days is None:
        return cycle.market.history_start
    if feed.day is None:
        msg = (
            f"feeds.{feed.name}.keeps_days of the market '{cycle.market.name}' is {keeps_days}, but that feed is about "
            f"no day; remove it."
        )
        raise ConfigError(msg)
    return cycle.as_of - timedelta(days=keeps_days)


def _days_ahead(cycle: Cycle, feed: Feed) -> int:
    """Return how many days after the as-of day the feed may speak of: those of plans and of what is known ahead."""
    market = cycle.market
    if not feed.looks_ahead:
        return 0
    match feed.name:
        case "market":
            ahead = any(variable.known == "ahead" for variable in market.variables.values())
            return market.horizon_days if ahead else 0
        case "calendar":
            return CALENDAR_AHEAD_DAYS
        case "prices" if not market.feed("prices").plans_prices:
            return 0
        case _:
            return market.plan_ahead_days


def _past(cycle: Cycle, feed: Feed) -> _Past:
    ledger = _ledger(cycle, feed)
    line = _Line(ledger["since"], ledger["initial"], ledger["revised"]) if ledger.get("since") else None
    earlier, later = ledger.get("earlier"), ledger.get("later")
    if not cycle.lake.exists(f"facts/{feed.name}"):
        return _Past(line, earlier, later, others_hold_facts=False)
    # Cycles that the ledger names are not looked for in the facts, so that few files, or none, have to be opened.
    sql = f"""
        SELECT (SELECT max(cycle) FROM "facts_{feed.name}" WHERE cycle < $cycle AND cycle > $earlier) AS earlier,
               (SELECT min(cycle) FROM "facts_{feed.name}" WHERE cycle > $cycle AND cycle < $later) AS later,
               EXISTS (SELECT 1 FROM "facts_{feed.name}" WHERE cycle < $cycle OR cycle > $cycle) AS others
    """  # noqa: S608 - names come from the feeds' contracts
    found = _asked(cycle, feed, sql, earlier=earlier or date.min, later=later or date.max)
    return _Past(line, found["earlier"] or earlier, found["later"] or later, found["others"])


def _ledger(cycle: Cycle, feed: Feed) -> dict[str, Any]:
    """Return what the ledger has of the feed: nothing where there is none."""
    if not cycle.lake.exists("batches"):
        return {}
    sql = """
        SELECT any_value(since) FILTER (cycle = $cycle) AS since, any_value(initial) FILTER (cycle = $cycle) AS initial,
               any_value(revised) FILTER (cycle = $cycle) AS revised, max(cycle) FILTER (cycle < $cycle) AS earlier,
               min(cycle) FILTER (cycle > $cycle) AS later
        FROM batches WHERE feed = $feed
    """
    found: dict[str, Any] = cycle.lake.query(sql, ["batches"], cycle=cycle.as_of, feed=feed.name).to_pylist()[0]
    return found


def _own_facts(cycle: Cycle, feed: Feed) -> _OwnFacts | None:
    first = "NULL" if feed.day is None else f'min("{feed.day}")'
    sql = f"""
        SELECT {first} AS first_day, bool_or(known_on < cycle) AS initial FROM "facts_{feed.name}" WHERE cycle = $cycle
    """  # noqa: S608 - names come from the feeds' contracts
    found = _asked(cycle, feed, sql)
    return None if found["initial"] is None else _OwnFacts(**found)


def _asked(cycle: Cycle, feed: Feed, sql: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    """Return the one row that a query over the feed's facts answers with; `$cycle` is this cycle."""
    answer = cycle.lake.query(sql, [f"facts/{feed.name}"], cycle=cycle.as_of, **parameters)
    found: dict[str, Any] = answer.to_pylist()[0]
    return found
