"""The stage's front door: fetch one feed's window for a cycle and land it."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.collect.landing import land, landed
from pipeline.collect.sources import Window, open_source
from pipeline.cycle import Cycle
from pipeline.errors import SourceError
from pipeline.feeds import FEEDS, Feed, FeedName
from pipeline.market import Market
from pipeline.stage import StageReport

__all__ = ["CollectReport", "run"]

CALENDAR_AHEAD_DAYS = 366
"""How far ahead holidays are fetched: they are computed, so they are known for years."""
WITHOUT_PRICE_PLAN = frozenset({"complete_journey"})
"""Sources whose prices are read off what was sold: nothing of them can be known before the day."""


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

    Every other feed is landed only if the source of the sales has come as far as the as-of day, so that a date outside
    the data leaves nothing behind. A later night on which an optional feed has nothing to say lands an empty batch.

    Raises:
        ConfigError: if the market has no such feed.
        SourceError: if the source cannot be read, lacks a column, or has nothing where something must be. It has no
            cause: a driver's own error may quote a raw row, and with it a person, and would end in a log.
    """
    try:
        return _collected(cycle, feed)
    except SourceError as exc:
        exc.__context__ = None
        raise exc from None


def _collected(cycle: Cycle, feed: FeedName) -> CollectReport:
    source = open_source(cycle.market.feed(feed), cycle.market)
    if feed != "sales":
        _refuse_without_sales(cycle)
    contract = FEEDS[feed]
    since, until, initial = _window(cycle, contract)
    with land(cycle, feed, grain=source.grain(contract), since=since, until=until, initial=initial) as landing:
        for batch in source.fetch(contract, Window(since, until, cycle.as_of, whole=initial)):
            landing.write(batch)
        if landing.rows == 0 and (initial or feed == "sales"):
            msg = (
                f"The source of the feed '{feed}' has no rows between {since} and {until}; check the source, or give "
                f"a date that it covers."
            )
            raise SourceError(msg)
    return CollectReport(feed, landing.rows, since, until, initial)


def _refuse_without_sales(cycle: Cycle) -> None:
    source = open_source(cycle.market.feed("sales"), cycle.market)
    gate = cycle.market.gate
    max_age_days = gate.feeds.get("sales", {}).get("max_age_days", gate.max_age_days)
    oldest = cycle.as_of - timedelta(days=int(max_age_days))
    window = Window(oldest, cycle.as_of, cycle.as_of, whole=False)
    if not any(batch.num_rows for batch in source.fetch(FEEDS["sales"], window)):
        msg = (
            f"The sales of '{cycle.market.name}' have nothing between {oldest} and {cycle.as_of}, so nothing else was "
            f"collected; give a date that they cover, or raise gate.max_age_days in the market's file."
        )
        raise SourceError(msg)


def _window(cycle: Cycle, feed: Feed) -> tuple[date, date, bool]:
    """Return the first and last day to fetch, and whether the feed is fetched for the first time.

    A cycle that is repeated looks at the window that it looked at before, whatever cycles have run since: its rows
    replace those of its first time.
    """
    until = cycle.as_of + timedelta(days=_days_ahead(cycle.market, feed))
    since, initial = _recorded(cycle, feed) or _fresh(cycle, feed)
    if initial or feed.day is None:
        since = cycle.market.history_start
    return max(since, cycle.market.history_start), until, initial


def _days_ahead(market: Market, feed: Feed) -> int:
    """Return how many days after the as-of day the feed may speak of: those of plans and of what is known ahead."""
    match feed.name:
        case "promotions":
            return market.plan_ahead_days
        case "prices":
            return 0 if market.feed("prices").source in WITHOUT_PRICE_PLAN else market.plan_ahead_days
        case "market":
            ahead = any(variable.known == "ahead" for variable in market.variables.values())
            return market.horizon_days if ahead else 0
        case "calendar":
            return CALENDAR_AHEAD_DAYS
        case _:
            return 0


def _recorded(cycle: Cycle, feed: Feed) -> tuple[date, bool] | None:
    """Return since when this cycle has collected the feed before, and whether that was the feed's first time."""
    if not cycle.lake.exists(f"facts/{feed.name}"):
        return None
    if cycle.lake.exists("batches"):
        rows = cycle.lake.read("batches", cycle=cycle.as_of, feed=feed.name).to_pylist()
        if rows:
            return rows[0]["since"], rows[0]["initial"]
    sql = f'SELECT 1 FROM "facts_{feed.name}" WHERE cycle = $cycle LIMIT 1'  # noqa: S608 - a feed's name
    if cycle.lake.query(sql, [f"facts/{feed.name}"], cycle=cycle.as_of).num_rows == 0:
        return None
    # Facts without their line in the ledger: an attempt was ended between the two.
    batch = landed(cycle, feed.name)
    return batch.since, batch.initial


def _fresh(cycle: Cycle, feed: Feed) -> tuple[date, bool]:
    """Return since when the feed is to be collected: from before the last earlier cycle, so that no night is missed."""
    if not cycle.lake.exists("batches"):
        return cycle.market.history_start, True
    sql = """
        SELECT count(*) AS cycles, max(cycle) FILTER (cycle < $cycle) AS earlier FROM batches WHERE feed = $feed
    """
    found = cycle.lake.query(sql, ["batches"], feed=feed.name, cycle=cycle.as_of).to_pylist()[0]
    if found["cycles"] == 0:
        return cycle.market.history_start, True
    covered = found["earlier"] or cycle.as_of
    return covered - timedelta(days=cycle.market.look_back_days), False
