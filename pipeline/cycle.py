"""Cycle: one market on one as-of day, with its seed, its places on disk and its ids; every stage takes one."""

import hashlib
import os
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.errors import ConfigError
from pipeline.lake import Lake
from pipeline.market import Market, load_market

__all__ = ["Cycle", "Home", "as_of_day", "logical_date_of", "open_cycle"]

_SUNDAY = 6


@dataclass(frozen=True)
class Home:
    """Where Trendmill keeps its state: `TRENDMILL_HOME`, or `.trendmill` in the working directory.

    The Delta tables may lie elsewhere: where `TRENDMILL_LAKE` says, a folder or an object store's URL.
    """

    path: Path
    lake_elsewhere: str | None = None
    """Root of the Delta tables, if it is not the home's own folder."""

    @classmethod
    def from_environment(cls) -> "Home":
        """Return the home that the environment names."""
        path = Path(os.environ.get("TRENDMILL_HOME") or ".trendmill").expanduser().resolve()
        lake = os.environ.get("TRENDMILL_LAKE")
        if lake and "://" not in lake:
            lake = str(Path(lake).expanduser().resolve())
        return cls(path, lake.rstrip("/") if lake else None)

    @property
    def lake(self) -> Path:
        """The home's own folder of Delta tables."""
        return self.path / "lake"

    def lake_of(self, market: str) -> Lake:
        """Return a market's tables, wherever they lie."""
        return Lake(f"{self.lake_elsewhere or self.lake}/{market}")

    @property
    def landing(self) -> Path:
        """Landed batches: the only place that may hold personal ids."""
        return self.path / "landing"

    @property
    def snapshots(self) -> Path:
        """Panels, one a cycle."""
        return self.path / "snapshots"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.path / "mlflow"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME of the embedded engine."""
        return self.path / "airflow"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' pages."""
        return self.path / "data_docs"

    @property
    def reports(self) -> Path:
        """The HTML reports, one a cycle."""
        return self.path / "reports"


@dataclass(frozen=True)
class Cycle:
    """One run of a market, daily or weekly, for an as-of day: the last day whose data may be known."""

    market: Market
    as_of: date
    home: Home

    @property
    def key(self) -> str:
        """The cycle's id, as it stands in MLflow and in messages: `market/2017-11-30`."""
        return f"{self.market.name}/{self.as_of}"

    @cached_property
    def seed(self) -> int:
        """The seed of everything random in this cycle, equal on every machine."""
        digest = hashlib.sha256(self.key.encode()).digest()
        return int.from_bytes(digest[:4]) % (2**31)

    @cached_property
    def lake(self) -> Lake:
        """The market's tables."""
        return self.home.lake_of(self.market.name)

    @property
    def snapshot_dir(self) -> Path:
        """Where this cycle's panel lies."""
        return self.home.snapshots / self.market.name / str(self.as_of)

    @property
    def report_file(self) -> Path:
        """Where this cycle's HTML report lies."""
        return self.home.reports / self.market.name / f"{self.as_of}.html"

    def landing_dir(self, feed: str) -> Path:
        """Where this cycle's batch of a feed lands."""
        return self.home.landing / self.market.name / feed / str(self.as_of)


def open_cycle(market: str | Path, as_of: date, home: Home | None = None) -> Cycle:
    """Return the cycle of a market (a name in `markets/` or a path) on an as-of day.

    Raises:
        ConfigError: if the market is broken, the day lies before its history, or a weekly market's week is not over.
    """
    loaded = load_market(market)
    if as_of < loaded.history_start:
        msg = f"{as_of} lies before {loaded.name}'s history, which starts on {loaded.history_start}; give a later date."
        raise ConfigError(msg)
    if loaded.frequency == "W" and as_of.weekday() != _SUNDAY:
        before = as_of - timedelta(days=as_of.weekday() + 1)
        msg = (
            f"{as_of} is a {as_of:%A}, but '{loaded.name}' is a weekly market, whose weeks end on Sundays; "
            f"give {before} or {before + timedelta(days=7)}."
        )
        raise ConfigError(msg)
    return Cycle(loaded, as_of, home or Home.from_environment())


def as_of_day(logical_date: datetime | None, run_after: datetime, zone: ZoneInfo) -> date:
    """Return the as-of day of an Airflow run: the last day that was over in the market when the run was due.

    Args:
        logical_date: the run's logical date (timezone-aware); None for a manual run without one.
        run_after: the run's earliest start (timezone-aware), used only where there is no logical date.
        zone: the market's time zone.
    """
    due = logical_date or run_after
    return due.astimezone(zone).date() - timedelta(days=1)


def logical_date_of(as_of: date, market: Market) -> datetime:
    """Return the instant at which the market's nightly run for this as-of day is due: `as_of_day`'s inverse."""
    return datetime.combine(as_of + timedelta(days=1), market.schedule.time, tzinfo=market.zone)
