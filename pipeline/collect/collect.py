"""The stage's front door: fetch one feed's window for a cycle and land it."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.collect.landing import land
from pipeline.collect.sources import open_source
from pipeline.cycle import Cycle
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import FEEDS, Feed
from pipeline.market import FeedName
from pipeline.stage import StageReport

__all__ = ["CollectReport", "run"]

CALENDAR_AHEAD_DAYS = 366
"""How far ahead holidays are fetched: they are computed, so they are known for years."""


@dataclass(frozen=True)
class CollectReport(StageReport):
    """What was landed of one feed."""

    feed: str
    rows: int
    since: date
    until: date
    initial: bool
    """Whether the lake knew nothing of the feed before, so that the whole history was fetched."""

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        kind = "history" if self.initial else "look-back"
        return f"{self.feed}: landed {self.rows:,} rows for {self.since} to {self.until} ({kind})."


def run(cycle: Cycle, feed: FeedName) -> CollectReport:
    """Land what the feed's source says for this cycle.

    Raises:
        ConfigError: if the market has no such feed.
        SourceError: if the source cannot be read, lacks a column or has nothing in the window.
    """
    settings = cycle.market.feeds.get(feed)
    if settings is None:
        msg = f"The market '{cycle.market.name}' has no feed '{feed}'; it has {', '.join(cycle.market.feeds)}."
        raise ConfigError(msg)
    contract = FEEDS[feed]
    since, until, initial = _window(cycle, contract)
    source = open_source(settings, cycle.market)
    with land(cycle, feed, grain=source.grain(contract), since=since, until=until, initial=initial) as landing:
        for batch in source.fetch(contract, since, until):
            landing.write(batch)
        if landing.rows == 0:
            msg = (
                f"The source of the feed '{feed}' has no rows between {since} and {until}; check the source, or give "
                f"a date that it covers."
            )
            raise SourceError(msg)
    return CollectReport(feed, landing.rows, since, until, initial)


def _window(cycle: Cycle, feed: Feed) -> tuple[date, date, bool]:
    """Return the first and last day to fetch, and whether the feed is fetched for the first time."""
    covered = _covered_until(cycle, feed)
    ahead_days = {"promotions": cycle.market.plan_ahead_days, "calendar": CALENDAR_AHEAD_DAYS}.get(feed.name, 0)
    until = cycle.as_of + timedelta(days=ahead_days)
    if covered is None or feed.day is None:
        return cycle.market.history_start, until, covered is None
    since = min(cycle.as_of, covered) - timedelta(days=cycle.market.look_back_days)
    return max(since, cycle.market.history_start), until, False


def _covered_until(cycle: Cycle, feed: Feed) -> date | None:
    """Return the last cycle, this one apart, that has collected the feed."""
    if not cycle.lake.exists("batches"):
        return None
    sql = "SELECT max(cycle) AS covered FROM batches WHERE feed = $feed AND cycle <> $cycle"
    return cycle.lake.query(sql, ["batches"], feed=feed.name, cycle=cycle.as_of)["covered"][0].as_py()
