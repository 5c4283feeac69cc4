"""What is judged of a batch as a whole: one row that profiles it, for the suite `batch`."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Any

import pandas as pd

from pipeline.collect import Landed
from pipeline.cycle import Cycle
from pipeline.feeds import LARGEST_NUMBER, Feed, FeedName
from pipeline.validate.losses import emptied_days, emptied_facts, forgotten_days
from pipeline.validate.rows import RowCounts
from pipeline.validate.suites import Suite

__all__ = ["Tally", "parameters_of", "profile_of"]

USUAL_BATCHES = 8
"""How many recent batches say what volume is usual."""

EXAMPLES = 3
"""Names that a sentence gives at most."""


@dataclass
class Tally:
    """What is counted while the slices of a batch are judged."""

    accepted: int = 0
    released: int = 0
    """Rows among the accepted ones that a person has released from quarantine."""
    duplicates: int = 0
    repeated_keys: int = 0
    newest_day: date | None = None
    """The latest day up to the as-of day that an accepted row is about."""
    rules: Counter[str] = field(default_factory=Counter)
    """Rule -> rows that it sent to quarantine."""
    present: Counter[str] = field(default_factory=Counter)
    """Column that a rule speaks of -> distinct rows with a value in it."""
    held: Counter[date] = field(default_factory=Counter)
    """Day of the window -> facts that the lake held of it before."""
    held_before: int = 0
    """Rows without a day among the quarantined ones that the quarantine held already: they come every night."""

    def add(self, counts: RowCounts) -> None:
        """Add where the distinct rows of a slice went."""
        self.accepted += counts.accepted
        self.released += counts.released
        self.rules.update(counts.rules)
        self.present.update(counts.present)

    def note_day(self, day: date | None) -> None:
        """Note the latest day of some accepted rows."""
        self.newest_day = max(filter(None, (self.newest_day, day)), default=None)

    @property
    def quarantined(self) -> int:
        """Rows that broke a rule."""
        return self.rules.total()

    @property
    def distinct(self) -> int:
        """Landed rows but for word-for-word repeats."""
        return self.accepted + self.quarantined

    @property
    def judged_anew(self) -> int:
        """Distinct rows but for those that the quarantine held already."""
        return self.distinct - self.held_before

    @property
    def share_quarantined(self) -> float:
        """Share of the rows judged anew that are quarantined."""
        return (self.quarantined - self.held_before) / max(self.judged_anew, 1)


def parameters_of(cycle: Cycle, feed: FeedName) -> dict[str, Any]:
    """Return what the placeholders in the suites stand for."""
    thresholds = cycle.market.gate.of(feed)
    fresh_since = cycle.as_of - timedelta(days=thresholds.max_age_days)
    return thresholds.model_dump() | {
        "least_units": -thresholds.max_units,
        "least_volume_factor": 1 / thresholds.max_volume_factor,
        "largest_number": LARGEST_NUMBER,
        "least_number": -LARGEST_NUMBER,
        "fresh_since": datetime.combine(fresh_since, time()),
    }


def profile_of(
    cycle: Cycle, feed: Feed, batch: Landed, suite: Suite, tally: Tally
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the batch in one row, for the suite `batch`, and the words that its reasons may need.

    Args:
        cycle: the cycle.
        feed: the feed.
        batch: a landed batch.
        suite: the suite that its rows were judged by.
        tally: what was counted on the way.
    """
    usual = _usual_rows_a_day(cycle, feed)
    rows_a_day = batch.rows / ((batch.until - batch.since).days + 1)
    required = {column.name for column in feed.landed_schema(batch.grain) if not column.nullable}
    empty = [name for name, rows in tally.present.items() if tally.judged_anew and name in required and rows == 0]
    emptied, forgotten = emptied_days(cycle, batch, tally.held), forgotten_days(cycle, feed, batch)
    lost_facts = emptied_facts(cycle, feed, batch)
    nothing = batch.since - timedelta(days=1)
    row = {
        "rows": batch.rows,
        "rows_a_day": rows_a_day,
        "volume_factor": math.nan if usual is None else rows_a_day / usual,
        "busiest_day_factor": _busiest_day_factor(batch),
        "newest_day": pd.Timestamp(tally.newest_day or nothing),
        "repeated_keys": tally.repeated_keys,
        "share_quarantined": tally.share_quarantined,
        "empty_columns": len(empty),
        "emptied_days": len(emptied),
        "forgotten_days": len(forgotten),
        "emptied_facts": lost_facts,
    }
    words = {
        "found_rows_a_day": f"{rows_a_day:,.1f}",
        "usual_rows_a_day": f"{usual or rows_a_day:,.1f}",
        "found_newest_day": str(tally.newest_day or "none"),
        "found_busiest_day_factor": f"{row['busiest_day_factor']:.1f}",
        "found_share": f"{tally.share_quarantined:.1%}",
        "found_repeated_keys": f"{tally.repeated_keys:,}",
        "most_broken": _most_broken(suite, tally),
        "key": ", ".join(feed.landed_key(batch.grain)),
        "empty_column_names": _first_of(empty),
        "emptied_day_names": _first_of(emptied),
        "forgotten_day_names": _first_of(forgotten),
        "found_emptied_facts": f"{lost_facts:,}",
    }
    return pd.DataFrame([row]), words


def _first_of(things: Sequence[object]) -> str:
    return ", ".join(map(str, things[:EXAMPLES])) + (", ..." if len(things) > EXAMPLES else "")


def _most_broken(suite: Suite, tally: Tally) -> str:
    """Return the reason that most rows were quarantined for."""
    most = max((rule for rule in suite.rules), key=lambda rule: tally.rules[rule.name], default=None)
    return most.reason if most else "no rule"


def _usual_rows_a_day(cycle: Cycle, feed: Feed) -> float | None:
    """Return the median of recent look-back batches' rows a day of their window, or None where there are none."""
    if not cycle.lake.exists("batches"):
        return None
    sql = """
        SELECT median(landed / ("until" - "since" + 1)) AS usual FROM (
            SELECT landed, "until", "since" FROM batches WHERE feed = $feed AND cycle < $cycle AND NOT initial
            ORDER BY cycle DESC LIMIT $batches
        )
    """
    found = cycle.lake.query(sql, ["batches"], feed=feed.name, cycle=cycle.as_of, batches=USUAL_BATCHES)
    usual: float | None = found["usual"][0].as_py()
    return usual or None


def _busiest_day_factor(batch: Landed) -> float:
    """Return how many times as many rows as the median day the busiest day has; NaN where nothing has a day."""
    return max(batch.days.values()) / median(batch.days.values()) if batch.days else math.nan
