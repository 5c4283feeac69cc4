"""The stage's front door: fetch one feed's window for a cycle and land it."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.collect.landing import has_landed, land, landed
from pipeline.collect.sources import Window, open_source
from pipeline.collect.span import span_of
from pipeline.cycle import Cycle
from pipeline.errors import SourceError
from pipeline.feeds import FEEDS, FeedName
from pipeline.stage import StageReport

__all__ = ["CollectReport", "run"]


@dataclass(frozen=True)
class CollectReport(StageReport):
    """What was landed of one feed."""

    feed: str
    rows: int
    since: date
    until: date
    initial: bool
    """Whether the lake knew nothing of the feed before, so that the whole history was fetched."""
    lost_since: date | None = None
    lost_until: date | None = None
    """First and last of the days that no cycle has collected and the source holds no longer."""
    newer_cycle: date | None = None
    """A later cycle that had collected the feed before this one did for the first time."""

    def summary(self) -> str:
        """Return one sentence for a log or a terminal, and one for each thing that a person should know."""
        return " ".join(sentence for sentence in (self._landed(), self._lost(), self._overtaken()) if sentence)

    def _landed(self) -> str:
        if self.initial and self.rows == 0:
            return f"{self.feed}: the source has nothing yet for {self.since} to {self.until}."
        kind = "history" if self.initial else "look-back"
        return f"{self.feed}: landed {self.rows:,} rows for {self.since} to {self.until} ({kind})."

    def _lost(self) -> str:
        if self.lost_since is None:
            return ""
        return (
            f"Nobody knows {self.lost_since} to {self.lost_until} any more: no cycle has collected these days, and by "
            f"feeds.{self.feed}.keeps_days the source holds them no longer."
        )

    def _overtaken(self) -> str:
        if self.newer_cycle is None:
            return ""
        return (
            f"The cycle of {self.newer_cycle} has collected this feed before, and what it knew may change by this one; "
            f"run it again to have its forecasts know the same."
        )


def run(cycle: Cycle, feed: FeedName) -> CollectReport:
    """Land what the feed's source says for this cycle.

    Every other feed is landed only if the source of the sales has come as far as the as-of day, so that a date outside
    the data leaves nothing behind. A night on which an optional feed has nothing to say lands an empty batch.

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
    span = span_of(cycle, contract)
    with land(
        cycle, feed, grain=source.grain(contract), since=span.since, until=span.until, initial=span.initial
    ) as landing:
        for batch in source.fetch(contract, Window(span.since, span.until, cycle.as_of)):
            landing.write(batch)
        if feed == "sales" and landing.dated == 0:
            msg = (
                f"The source of the feed '{feed}' has no rows between {span.since} and {span.until}; check the source, "
                f"or give a date that it covers."
            )
            raise SourceError(msg)
    lost_since, lost_until = span.lost or (None, None)
    return CollectReport(feed, landing.rows, span.since, span.until, span.initial, lost_since, lost_until, span.newer)


def _refuse_without_sales(cycle: Cycle) -> None:
    oldest = cycle.as_of - timedelta(days=cycle.market.gate.of("sales").max_age_days)
    if not (_sales_have_landed(cycle, oldest) or _source_has_sales(cycle, oldest)):
        msg = (
            f"The sales of '{cycle.market.name}' have nothing between {oldest} and {cycle.as_of}, so nothing else was "
            f"collected; give a date that they cover, or raise gate.max_age_days in the market's file."
        )
        raise SourceError(msg)


def _sales_have_landed(cycle: Cycle, oldest: date) -> bool:
    """Return whether this cycle's sales have landed already and reach far enough: then nobody else need be asked."""
    return has_landed(cycle, "sales") and any(oldest <= day <= cycle.as_of for day in landed(cycle, "sales").days)


def _source_has_sales(cycle: Cycle, oldest: date) -> bool:
    source = open_source(cycle.market.feed("sales"), cycle.market)
    batches = source.fetch(FEEDS["sales"], Window(oldest, cycle.as_of, cycle.as_of))
    # Rows without a day come with every window, and show nothing of it.
    return any(batch.column("date").null_count < batch.num_rows for batch in batches)
