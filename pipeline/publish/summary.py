"""What a person wants to know of a finished night, read back from the lake."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline.cycle import Cycle

__all__ = ["BatchLine", "LeaderboardLine", "NightSummary", "QuarantineLine", "summarise"]


@dataclass(frozen=True)
class LeaderboardLine:
    """A candidate's scores over the whole backtest."""

    candidate: str
    wql: float
    gain: float
    """Share by which its loss is lower than the baseline's."""
    wape: float
    mase: float
    rmsse: float
    bias: float
    coverage_80: float


@dataclass(frozen=True)
class BatchLine:
    """A row of the ledger: landed = accepted + quarantined + duplicates."""

    feed: str
    landed: int
    accepted: int
    quarantined: int
    duplicates: int
    revised: int


@dataclass(frozen=True)
class QuarantineLine:
    """How many rows of a feed wait in quarantine for one reason."""

    feed: str
    reason: str
    rows: int


@dataclass(frozen=True)
class NightSummary:
    """One cycle's outcome."""

    market: str
    as_of: date
    winner: str
    baseline: str
    version: int
    promoted: bool
    leaderboard: tuple[LeaderboardLine, ...]
    """Best first."""
    series: int
    rows: int
    horizon: int
    period_name: str
    """Whether forecasts are by the day or by the week."""
    batches: tuple[BatchLine, ...]
    quarantine: tuple[QuarantineLine, ...]
    report_file: Path

    @property
    def best(self) -> LeaderboardLine:
        """The winner's scores."""
        return next(line for line in self.leaderboard if line.candidate == self.winner)

    def sentences(self) -> Iterator[str]:
        """Yield what the terminal says, a sentence a line."""
        standing = "champion" if self.promoted else "winner (a later cycle holds the championship)"
        yield (
            f"Winner: {self.winner}, version {self.version}, {standing}; its weighted quantile loss is "
            f"{self.best.gain:.1%} below the {self.baseline}'s, its 80 % interval covers {self.best.coverage_80:.1%}."
        )
        yield f"Published: {self.rows:,} rows for {self.series:,} series, {self.horizon} {self.period_name}s ahead."
        total = sum(line.quarantined for line in self.batches)
        yield f"Quarantined: {total:,} of {sum(line.landed for line in self.batches):,} landed rows."
        for line in self.quarantine:
            yield f"  {line.rows:,} {line.feed}: {line.reason}"
        yield f"Report: {_relative(self.report_file)}"
        yield "Open Airflow, MLflow and the report: make ui"


def summarise(cycle: Cycle) -> NightSummary:
    """Read a finished cycle's outcome.

    Raises:
        StageError: if the cycle has not come that far.
    """
    lake, day = cycle.lake, cycle.as_of
    verdict = lake.read("verdicts", cycle=day).to_pylist()[0]
    chosen = lake.read("champions", cycle=day).to_pylist()[0]
    published = lake.query(
        "SELECT count(DISTINCT unique_id) AS series, count(*) AS n_rows FROM forecasts WHERE cycle = $day",
        ["forecasts"],
        day=day,
    ).to_pylist()[0]
    quarantine = lake.query(
        """
        SELECT feed, reason, count(*) AS n_rows FROM quarantine WHERE cycle = $day
        GROUP BY ALL ORDER BY n_rows DESC, feed, reason
        """,
        ["quarantine"],
        day=day,
    ).to_pylist()
    return NightSummary(
        market=cycle.market.name,
        as_of=day,
        winner=verdict["winner"],
        baseline=verdict["baseline"],
        version=chosen["version"],
        promoted=chosen["promoted"],
        leaderboard=_leaderboard(cycle, verdict["baseline"]),
        series=published["series"],
        rows=published["n_rows"],
        horizon=cycle.market.horizon,
        period_name=cycle.market.period_name,
        batches=_batches(cycle),
        quarantine=tuple(QuarantineLine(row["feed"], row["reason"], row["n_rows"]) for row in quarantine),
        report_file=cycle.report_file,
    )


def _leaderboard(cycle: Cycle, baseline: str) -> tuple[LeaderboardLine, ...]:
    rows = cycle.lake.query(
        "SELECT candidate, metric, value FROM scores WHERE cycle = $day AND lead IS NULL", ["scores"], day=cycle.as_of
    ).to_pylist()
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["candidate"], {})[row["metric"]] = row["value"]
    reference = found[baseline]["wql"]
    lines = [
        LeaderboardLine(
            candidate=name,
            gain=1 - scores["wql"] / reference if reference > 0 else 0.0,
            **{key: scores[key] for key in ("wql", "wape", "mase", "rmsse", "bias", "coverage_80")},
        )
        for name, scores in found.items()
    ]
    return tuple(sorted(lines, key=lambda line: (line.wql, line.candidate)))


def _batches(cycle: Cycle) -> tuple[BatchLine, ...]:
    rows = cycle.lake.read("batches", cycle=cycle.as_of).to_pylist()
    by_feed = {row["feed"]: row for row in rows}
    names = ("feed", "landed", "accepted", "quarantined", "duplicates", "revised")
    return tuple(
        BatchLine(**{name: by_feed[feed][name] for name in names}) for feed in cycle.market.feeds if feed in by_feed
    )


def _relative(file: Path) -> str:
    """Return the path from the working directory where that is shorter."""
    return min(str(file), os.path.relpath(file), key=len)
