"""Market: one shop or region, described by one YAML file that is validated when it is read."""

import os
from datetime import date, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from pipeline.candidates import DEFAULT, CandidateSettings, EnsembleSettings, with_members
from pipeline.errors import ConfigError
from pipeline.feeds import FeedName
from pipeline.settings import Settings
from pipeline.simulate import SimulatorSettings
from pipeline.sources import SourceSettings

__all__ = [
    "BacktestSettings",
    "GateSettings",
    "Market",
    "PrivacySettings",
    "RetentionSettings",
    "ScheduleSettings",
    "SeriesSettings",
    "Thresholds",
    "VariableSettings",
    "load_market",
    "markets_dir",
]


class SeriesSettings(Settings):
    """Which items are forecast."""

    top: PositiveInt = 500
    """How many items, by days with sales over the trailing days."""
    trailing_days: PositiveInt = 182
    levels: tuple[Literal["department", "category", "type", "brand"], ...] = ("department", "category", "type")
    """The catalogue's hierarchy, from the top down."""
    missing: Literal["zero", "unknown"] = "zero"
    """What a period without a row of sales means, once a series is sold: nothing was sold, or nothing is known."""


class BacktestSettings(Settings):
    """Rolling origins: the last one lies one horizon before the as-of day."""

    origins: PositiveInt = 4
    step: PositiveInt = 7
    """Periods between two origins."""


class Thresholds(Settings):
    """When a batch is refused as a whole, and which rows are."""

    max_quarantined_share: float = Field(default=0.05, ge=0, le=1)
    max_age_days: int = Field(default=3, ge=0)
    """How much older than the as-of day the newest sale may be; more than 0 where shops close for days."""
    max_volume_factor: float = Field(default=5, gt=1)
    """How many times as many rows a day as usual, or as few, a batch may have."""
    max_units: float = Field(default=10_000, gt=0)
    """More units than this in one row are a mistake."""
    max_price: float = Field(default=100_000, gt=0)
    """More money than this for one unit is a mistake."""


class GateSettings(Thresholds):
    """The thresholds of a market, and those of single feeds that differ from them."""

    feeds: dict[FeedName, Thresholds] = Field(default_factory=dict)
    """Other values of some thresholds for single feeds."""

    def of(self, feed: FeedName) -> Thresholds:
        """Return the thresholds that a feed is judged by: its own, and for the rest those of the market."""
        own = self.feeds[feed].model_dump(exclude_unset=True) if feed in self.feeds else {}
        return Thresholds(**self.model_dump(exclude={"feeds"}) | own)


class PrivacySettings(Settings):
    """What the lake may say of people."""

    min_group: PositiveInt = 5
    """Counts of fewer people than this are suppressed."""


class RetentionSettings(Settings):
    """How long what is not needed any more is kept."""

    landing_days: PositiveInt = 30
    """Landed batches, the only place with personal ids, are removed this long after their as-of day."""
    versions_days: int = Field(default=7, ge=0)
    """Old versions of tables can be read for this long."""


class VariableSettings(Settings):
    """What a variable of the feed `market` is to a model."""

    known: Literal["ahead", "after"] = "after"
    """Whether its values are there before their day, such as opening days and advertising budgets, or only after it."""
    fill: Literal["last", "zero"] = "last"
    """What a day without a value has: the last value before it, or 0."""


class ScheduleSettings(Settings):
    """When and how Airflow runs the cycle."""

    at: str = Field(default="05:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Time of day in the market's time zone (quote it: YAML reads a bare 05:00 as a number)."""
    retries: int = Field(default=2, ge=0)
    retry_delay_seconds: float = Field(default=30, ge=0)
    """Before the first retry; it doubles for each further one."""
    task_timeout_minutes: PositiveInt = 60

    @property
    def time(self) -> time:
        """The time of day at which the nightly run is due."""
        return time.fromisoformat(self.at)


class Market(Settings):
    """One shop or region with all that a cycle needs to know of it.

    Raises:
        ValidationError: if a value breaks its rule; `load_market` turns it into a sentence.
    """

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    title: str
    about: str = ""
    timezone: str = "UTC"
    history_start: date
    look_back_days: PositiveInt = 14
    """How far back a collection looks for late and corrected records."""
    plan_ahead_days: int = Field(default=0, ge=0)
    """How many days before their start promotions are known; below the horizon they are covariates of the past only."""
    horizon: PositiveInt = 28
    """How many periods of the frequency are forecast."""
    frequency: Literal["D", "W"] = "D"
    """Whether demand is forecast by the day or by the week, Monday to Sunday."""
    feeds: dict[FeedName, SourceSettings]
    simulator: SimulatorSettings = SimulatorSettings()
    """The world that feeds with `source: simulator` tell of."""
    regions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Region -> its locations, for variables of the feed `market` that belong to a region."""
    variables: dict[str, VariableSettings] = Field(default_factory=dict)
    """The variables of the feed `market` that models see; others are kept in the lake only."""
    privacy: PrivacySettings = PrivacySettings()
    retention: RetentionSettings = RetentionSettings()
    series: SeriesSettings = SeriesSettings()
    backtest: BacktestSettings = BacktestSettings()
    gate: GateSettings = GateSettings()
    candidates: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], CandidateSettings] = Field(
        default_factory=lambda: with_members(DEFAULT), min_length=1, validate_default=True
    )
    """The forecasters that compete."""
    schedule: ScheduleSettings = ScheduleSettings()
    file: Path = Field(exclude=True)
    """Where this market was read from; relative source paths start from its folder."""

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            msg = f"'{value}' is not an IANA time zone such as 'Europe/London'"
            raise ValueError(msg)
        return value

    @field_validator("candidates", mode="before")
    @classmethod
    def _with_members(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
        return with_members(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "sales" not in self.feeds:
            msg = "the feed 'sales' is required"
            raise ValueError(msg)
        if not any(candidate.model == "seasonal_naive" for candidate in self.candidates.values()):
            msg = "one candidate must be a 'seasonal_naive', the baseline that every other is measured against"
            raise ValueError(msg)
        if self.frequency == "W" and self.history_start.weekday() != 0:
            monday = self.history_start - timedelta(days=self.history_start.weekday())
            msg = (
                f"the weeks of a weekly market begin on Mondays, but history_start is {self.history_start:%A} "
                f"{self.history_start}; give {monday} or {monday + timedelta(days=7)}"
            )
            raise ValueError(msg)
        return self

    @property
    def period_days(self) -> int:
        """How many days one period of the frequency has: 1, or 7 in a weekly market."""
        return 7 if self.frequency == "W" else 1

    @property
    def period_name(self) -> str:
        """The word for one period of the frequency: day or week."""
        return "week" if self.frequency == "W" else "day"

    @property
    def horizon_days(self) -> int:
        """How many days ahead of the as-of day forecasts reach."""
        return self.horizon * self.period_days

    @property
    def zone(self) -> ZoneInfo:
        """The market's time zone."""
        return ZoneInfo(self.timezone)

    def feed(self, name: str) -> SourceSettings:
        """Return where a feed comes from.

        Raises:
            ConfigError: if the market has no such feed.
        """
        for feed, settings in self.feeds.items():
            if feed == name:
                return settings
        msg = f"The market '{self.name}' has no feed '{name}'; it has {', '.join(self.feeds)}."
        raise ConfigError(msg)

    def candidate(self, name: str) -> CandidateSettings:
        """Return a candidate's settings.

        Raises:
            ConfigError: if the market has no such candidate.
        """
        if name not in self.candidates:
            msg = f"The market '{self.name}' has no candidate '{name}'; it has {', '.join(self.candidates)}."
            raise ConfigError(msg)
        return self.candidates[name]

    @property
    def candidates_in_order(self) -> tuple[str, ...]:
        """Names of the candidates, ensembles after those that they average."""
        ensembles = [name for name, settings in self.candidates.items() if isinstance(settings, EnsembleSettings)]
        return (*(name for name in self.candidates if name not in ensembles), *ensembles)

    @property
    def baseline(self) -> str:
        """Name of the seasonal-naive candidate that every other is measured against."""
        return next(name for name, settings in self.candidates.items() if settings.model == "seasonal_naive")


def markets_dir() -> Path:
    """Return the folder of the ready markets: `TRENDMILL_MARKETS`, or `markets/` beside the package."""
    return Path(os.environ.get("TRENDMILL_MARKETS") or Path(__file__).resolve().parent.parent / "markets")


def load_market(name_or_path: str | Path) -> Market:
    """Read and validate a market: a name in `markets/` or a path to a YAML file.

    Raises:
        ConfigError: if the file is missing, is no YAML, or breaks a rule; the message names file, key and fix.
    """
    file = _market_file(str(name_or_path))
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        msg = f"The market file {file} cannot be read ({exc.strerror}); check its path and permissions."
        raise ConfigError(msg) from exc
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown line"
        msg = f"{file} is not valid YAML at {where}: {getattr(exc, 'problem', exc)}; mend that line."
        raise ConfigError(msg) from exc
    if not isinstance(content, dict):
        msg = f"{file} must hold a mapping of keys such as 'name' and 'feeds', not a {type(content).__name__}."
        raise ConfigError(msg)
    try:
        return Market(**content | {"file": file})
    except ValidationError as exc:
        raise ConfigError(_sentence(file, exc)) from exc


def _market_file(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return Path(name).expanduser().resolve()
    file = markets_dir() / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in markets_dir().glob("*.yaml"))) or "none"
        msg = (
            f"There is no market '{name}' in {markets_dir()} (ready ones: {known}); give one of them or a YAML's path."
        )
        raise ConfigError(msg)
    return file


def _sentence(file: Path, exc: ValidationError) -> str:
    problems = [_problem(error) for error in exc.errors()]
    more = f" (and {len(problems) - 1} more: {'; '.join(problems[1:])})" if len(problems) > 1 else ""
    return f"{file}: {problems[0]}{more}."


def _problem(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails is a TypedDict of a private module
    key = ".".join(str(part) for part in error["loc"]) or "the market"
    match error["type"]:
        case "extra_forbidden":
            return f"'{key}' is not a known key; remove it or correct its spelling"
        case "missing":
            return f"'{key}' is missing; add it"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
        case _:
            return f"'{key}' is {error['input']!r}, but {_lower_first(error['msg'])}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
