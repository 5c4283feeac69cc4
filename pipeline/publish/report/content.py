"""What the page says, read back from the lake and the panel: numbers and names, nothing drawn yet."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS, FeedName
from pipeline.market import Market
from pipeline.models import QUANTILES
from pipeline.models.frame import QUANTILE_COLUMNS
from pipeline.preprocess import Panel, load_panel
from pipeline.provenance import provenance
from pipeline.publish.summary import BatchLine, NightSummary, summarise

__all__ = [
    "Content",
    "Fan",
    "FeedLine",
    "History",
    "Mover",
    "OriginTotal",
    "Period",
    "Reliability",
    "Scores",
    "gather",
]

SHOWN_HISTORY = {"D": 84, "W": 78}
"""How much of the past a chart shows, by frequency: twelve weeks, or a year and a half."""
COMPARED = {"D": (7, 28), "W": (4, 13)}
"""How many periods are compared with as many just past: whole weeks, so that every weekday weighs the same."""
MOVERS_EACH_WAY = 6

Days = NDArray[np.datetime64]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Period:
    """Units forecast for the next periods against units sold in as many periods just past."""

    length: int
    """How many days or weeks."""
    ahead: float
    behind: float

    @property
    def units(self) -> float:
        """How many units more are forecast than were sold."""
        return self.ahead - self.behind

    @property
    def share(self) -> float | None:
        """The same as a share of what was sold; None where nothing was."""
        return self.units / self.behind if self.behind > 0 else None


@dataclass(frozen=True)
class History:
    """What came, by period."""

    days: Days
    """First day of each period `[T]`."""
    units: Floats
    """NaN where not observed `[T]`."""


@dataclass(frozen=True)
class Fan:
    """What is forecast, by period."""

    days: Days
    """First day of each period `[H]`."""
    mean: Floats
    """`[H]`"""
    quantiles: Floats
    """At the levels `QUANTILES` `[H, Q]`."""


@dataclass(frozen=True)
class Mover:
    """A series whose demand is forecast to change much."""

    unique_id: str
    title: str
    shelf: str
    """Department and category, where the catalogue gives them."""
    period: Period
    history: History
    fan: Fan
    promotions: Floats
    """Depth of the deepest promotion in each period of history and forecast, 0 to 1 `[T + H]`."""
    observed_periods: int
    """How many of the periods just past are known."""


@dataclass(frozen=True)
class Scores:
    """A candidate's backtest."""

    candidate: str
    gain: float
    """Share by which its loss is lower than the baseline's."""
    overall: Mapping[str, float]
    """By metric."""
    wql_by_lead: Floats
    """NaN where nothing was scored `[H]`."""


@dataclass(frozen=True)
class Reliability:
    """How often actuals fell below the winner's quantiles, over all origins, series and periods."""

    levels: tuple[float, ...]
    below: tuple[float, ...]
    """Share of actuals under the quantile."""
    at_or_below: tuple[float, ...]
    """Share of actuals at or under the quantile; sales are counts, so the two differ."""
    rows: int


@dataclass(frozen=True)
class OriginTotal:
    """The winner's forecast of the market's total from one origin, beside what came."""

    origin: date
    actual: History
    mean: Floats
    """NaN where nothing was observed `[H]`."""

    @property
    def error(self) -> float | None:
        """Forecast minus actual over the horizon, as a share of the actual; None where nothing was sold."""
        came = float(np.nansum(self.actual.units))
        return float(np.nansum(self.mean)) / came - 1 if came > 0 else None


@dataclass(frozen=True)
class FeedLine:
    """A feed's batch in the ledger, what the lake knows of it, and its page in the Data Docs."""

    batch: BatchLine
    about: str
    since: date
    until: date
    initial: bool
    first: date | None
    """The first day that its facts are about; None where they are about no day."""
    last: date | None
    series: int | None
    """How many of the forecast series it says something of; None where that is no question."""
    docs: str | None
    """Relative link."""

    @property
    def balanced(self) -> bool:
        """Whether landed = accepted + quarantined + duplicates."""
        return self.batch.landed == self.batch.accepted + self.batch.quarantined + self.batch.duplicates


@dataclass(frozen=True)
class Content:
    """All that a page says."""

    market: Market
    night: NightSummary
    previous: int | None
    """The champion before this cycle."""
    first_day: date
    """Of the forecasts."""
    last_day: date
    periods: tuple[Period, ...]
    unknown_periods: int
    """How many of the longest span of periods just past nothing is known of."""
    total: History
    total_mean: Fan
    holidays: Days
    risers: tuple[Mover, ...]
    fallers: tuple[Mover, ...]
    has_promotions: bool
    scores: tuple[Scores, ...]
    """Best first."""
    reliability: Reliability
    origins: tuple[OriginTotal, ...]
    feeds: tuple[FeedLine, ...]
    absent_feeds: tuple[str, ...]
    provenance: Mapping[str, str]


def gather(cycle: Cycle) -> Content:
    """Return what the page of a published cycle says.

    Raises:
        StageError: if the cycle has not been published, or its panel was rebuilt since.
    """
    panel, inputs = load_panel(cycle)
    mean, quantiles = _vintage(cycle, panel)
    night = summarise(cycle)
    champion = cycle.lake.read("champions", cycle=cycle.as_of).to_pylist()[0]
    origins, reliability = _backtest(cycle, night.winner)
    ahead = _periods_after(panel.last_day, panel.horizon, panel.period_days)
    risers, fallers = _movers(cycle, panel, mean, quantiles)
    whole = Fan(ahead, mean.sum(axis=0), np.empty((panel.horizon, 0)))
    periods = tuple(_period(panel, mean, length) for length in _lengths(panel))
    observed = np.any(panel.observed, axis=0)
    return Content(
        market=cycle.market,
        night=night,
        previous=champion["previous"],
        first_day=ahead[0].item(),
        last_day=(ahead[-1] + panel.period_days - 1).item(),
        periods=periods,
        unknown_periods=int((~observed[-periods[-1].length :]).sum()),
        total=_recent(panel, np.where(observed, panel.y.sum(axis=0, dtype=np.float64), np.nan)),
        total_mean=whole,
        holidays=_holidays(panel),
        risers=risers,
        fallers=fallers,
        has_promotions=bool(_promotions_among(panel.known_names)),
        scores=_scores(cycle, night),
        reliability=reliability,
        origins=origins,
        feeds=tuple(_feeds(cycle, panel, night)),
        absent_feeds=tuple(feed for feed in FEEDS if feed not in cycle.market.feeds),
        provenance=_provenance(cycle, inputs),
    )


def _vintage(cycle: Cycle, panel: Panel) -> tuple[Floats, Floats]:
    """Return the cycle's published mean `[S, H]` and quantiles `[S, H, Q]`, in the panel's order."""
    rows = cycle.lake.read("forecasts", cycle=cycle.as_of)
    if rows.num_rows == 0:
        msg = f"{cycle.key} has no published forecasts yet; run 'trendmill publish' for it first."
        raise StageError(msg)
    rows = rows.sort_by([("unique_id", "ascending"), ("lead", "ascending")])
    if rows["unique_id"].to_pylist() != np.repeat(panel.unique_id, panel.horizon).tolist():
        msg = f"The panel of {cycle.key} was rebuilt since its forecasts were published; run 'trendmill publish' again."
        raise StageError(msg)
    shape = (len(panel.unique_id), panel.horizon)
    quantiles = [rows[name].to_numpy().reshape(shape) for name in QUANTILE_COLUMNS]
    return rows["mean"].to_numpy().reshape(shape).astype(np.float64), np.stack(quantiles, axis=-1).astype(np.float64)


def _periods_after(day: date, horizon: int, period_days: int) -> Days:
    """Return the first day of each of the periods after a day `[H]`."""
    return np.datetime64(day, "D") + 1 + period_days * np.arange(horizon)


def _lengths(panel: Panel) -> list[int]:
    """Return how many periods to compare, cut to what the horizon and the history hold."""
    longest = min(panel.horizon, panel.y.shape[1])
    return sorted({min(length, longest) for length in COMPARED[panel.frequency]})


def _period(panel: Panel, mean: Floats, length: int) -> Period:
    return Period(length, float(mean[:, :length].sum()), float(panel.y[:, -length:].sum(dtype=np.float64)))


def _recent(panel: Panel, units: Floats) -> History:
    shown = SHOWN_HISTORY[panel.frequency]
    return History(panel.days[-shown:], units[-shown:])


def _holidays(panel: Panel) -> Days:
    """Return the public holidays that a chart of days of history and forecast shows; among weeks they tell nothing."""
    if "public_holiday" not in panel.shared_names or panel.frequency == "W":
        return np.empty(0, "datetime64[D]")
    flags = panel.shared[:, panel.shared_names.index("public_holiday")] > 0
    days = np.datetime64(panel.start, "D") + np.flatnonzero(flags)
    return days[days > panel.days[-1] - SHOWN_HISTORY[panel.frequency]]


def _promotions_among(names: tuple[str, ...]) -> list[int]:
    """Return the positions of promotions among covariates."""
    return [position for position, name in enumerate(names) if name.startswith("promotion_")]


def _movers(cycle: Cycle, panel: Panel, mean: Floats, quantiles: Floats) -> tuple[tuple[Mover, ...], tuple[Mover, ...]]:
    """Return the series that rise and that fall most, in units, largest change first."""
    length = _lengths(panel)[-1]
    change = mean[:, :length].sum(axis=1) - panel.y[:, -length:].sum(axis=1, dtype=np.float64)
    order = np.argsort(-change, kind="stable")
    up = [int(row) for row in order[:MOVERS_EACH_WAY] if change[row] > 0]
    down = [int(row) for row in order[::-1][:MOVERS_EACH_WAY] if change[row] < 0]
    catalogue = _catalogue(cycle, {_item(panel, row) for row in (*up, *down)})

    def mover(row: int) -> Mover:
        return _mover(panel, row, length, mean[row], quantiles[row], catalogue.get(_item(panel, row), {}))

    return tuple(map(mover, up)), tuple(map(mover, down))


def _mover(
    panel: Panel, row: int, length: int, mean: Floats, quantiles: Floats, attributes: Mapping[str, str | None]
) -> Mover:
    alone = panel.take([row])
    shown = min(SHOWN_HISTORY[panel.frequency], panel.y.shape[1])
    depth = alone.known[0][:, _promotions_among(panel.known_names)].max(axis=-1, initial=0)
    return Mover(
        unique_id=str(panel.unique_id[row]),
        title=attributes.get("title") or _item(panel, row),
        shelf=" > ".join(filter(None, (attributes.get("department"), attributes.get("category")))),
        period=_period(alone, mean[None], length),
        history=_recent(panel, np.where(alone.observed[0], alone.y[0], np.nan)),
        fan=Fan(_periods_after(panel.last_day, panel.horizon, panel.period_days), mean, quantiles),
        promotions=np.clip(depth[-(shown + panel.horizon) :], 0, 1),
        observed_periods=int(alone.observed[0, -length:].sum()),
    )


def _item(panel: Panel, row: int) -> str:
    return str(panel.unique_id[row]).rpartition("/")[0]


def _catalogue(cycle: Cycle, items: set[str]) -> dict[str, dict[str, str | None]]:
    """Return what the catalogue said of some items on the as-of day, by item."""
    if "catalogue" not in cycle.market.feeds:
        return {}
    known = cycle.lake.as_of("catalogue", FEEDS["catalogue"].key, cycle.as_of)
    wanted = known.filter(pc.is_in(known["item"], pa.array(sorted(items), pa.string())))
    return {row["item"]: row for row in wanted.to_pylist()}


def _scores(cycle: Cycle, night: NightSummary) -> tuple[Scores, ...]:
    rows = cycle.lake.read("scores", cycle=cycle.as_of).to_pylist()
    overall: dict[str, dict[str, float]] = {}
    by_lead = {line.candidate: np.full(cycle.market.horizon, np.nan) for line in night.leaderboard}
    for row in sorted(rows, key=lambda row: (row["candidate"], row["metric"], row["lead"] or 0)):
        if row["lead"] is None:
            overall.setdefault(row["candidate"], {})[row["metric"]] = row["value"]
        elif row["metric"] == "wql" and row["lead"] <= cycle.market.horizon:
            by_lead[row["candidate"]][row["lead"] - 1] = row["value"]
    return tuple(
        Scores(line.candidate, line.gain, overall[line.candidate], by_lead[line.candidate])
        for line in night.leaderboard
    )


def _backtest(cycle: Cycle, winner: str) -> tuple[tuple[OriginTotal, ...], Reliability]:
    rows = cycle.lake.read("backtests", cycle=cycle.as_of, candidate=winner)
    seen = rows.filter(pc.is_valid(rows["y"]))
    y = seen["y"].to_numpy().astype(np.float64)
    quantiles = [seen[name].to_numpy() for name in QUANTILE_COLUMNS]
    reliability = Reliability(
        levels=QUANTILES,
        below=tuple(_share(y < quantile) for quantile in quantiles),
        at_or_below=tuple(_share(y <= quantile) for quantile in quantiles),
        rows=len(y),
    )
    return tuple(_origin_totals(seen, cycle.market)), reliability


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else float("nan")


def _origin_totals(seen: pa.Table, market: Market) -> Iterator[OriginTotal]:
    """Yield each origin's totals over the rows in which something was observed, earliest first."""
    seen = seen.sort_by([("origin", "ascending"), ("lead", "ascending"), ("unique_id", "ascending")])
    origin, lead, horizon = seen["origin"].to_numpy(), seen["lead"].to_numpy(), market.horizon
    for day in np.unique(origin):
        chosen = origin == day
        count = np.bincount(lead[chosen], minlength=horizon + 1)[1:]
        actual, mean = (
            np.where(count > 0, np.bincount(lead[chosen], weights, minlength=horizon + 1)[1:], np.nan)
            for weights in (seen["y"].to_numpy()[chosen], seen["mean"].to_numpy()[chosen])
        )
        after = day.astype("datetime64[D]").item()
        yield OriginTotal(after, History(_periods_after(after, horizon, market.period_days), actual), mean)


def _feeds(cycle: Cycle, panel: Panel, night: NightSummary) -> Iterator[FeedLine]:
    batches = {batch.feed: batch for batch in night.batches}
    ledger = {row["feed"]: row for row in cycle.lake.read("batches", cycle=cycle.as_of).to_pylist()}
    for feed in cycle.market.feeds:
        if feed not in batches:
            continue
        first, last, series = _reach(cycle, panel, feed)
        yield FeedLine(
            batch=batches[feed],
            about=FEEDS[feed].about,
            since=ledger[feed]["since"],
            until=ledger[feed]["until"],
            initial=ledger[feed]["initial"],
            first=first,
            last=last,
            series=series,
            docs=_docs_link(cycle, feed),
        )


def _reach(cycle: Cycle, panel: Panel, feed: FeedName) -> tuple[date | None, date | None, int | None]:
    """Return the first and last day that a feed's facts are about, and how many of the panel's series they reach."""
    contract = FEEDS[feed]
    days = f'min("{contract.day}"), max("{contract.day}")' if contract.day else "NULL, NULL"
    series, named = panel.unique_id.tolist(), "item || '/' || location"
    if "location" not in contract.key:
        series, named = [_item(panel, row) for row in range(len(series))], "item"
    if "item" not in contract.key or feed in {"promotions", "market"}:
        # These may be about a category or region, or about every item.
        series, named = [], "NULL"
    sql = f"""
        SELECT {days}, count(DISTINCT {named}) FILTER ({named} IN (SELECT unnest($series::VARCHAR[])))
        FROM "facts_{feed}" WHERE known_on <= $day AND NOT deleted
    """  # noqa: S608 - names come from the feeds' contracts
    found = cycle.lake.query(sql, [f"facts/{feed}"], day=cycle.as_of, series=series)
    first, last, reached = (column[0].as_py() for column in found.columns)
    if feed == "promotions":
        return first, last, _promoted_series(panel)
    return first, last, reached if series else None


def _promoted_series(panel: Panel) -> int:
    """Return how many series any promotion is about."""
    promoted = np.zeros(len(panel.unique_id), bool)
    for names, values in ((panel.known_names, panel.known), (panel.past_names, panel.past)):
        for position in _promotions_among(names):
            promoted |= (values[..., position] > 0).any(axis=1)
    return int(promoted.sum())


def _docs_link(cycle: Cycle, feed: str) -> str | None:
    """Return the way from the report to a feed's Data Docs, where there are any."""
    folder = cycle.home.data_docs / cycle.market.name
    pages = [folder / suite / "index.html" for suite in (f"{feed}_lines", feed)]
    page = next((page for page in pages if page.exists()), None)
    if page is None:
        return None
    return quote(Path(os.path.relpath(page, cycle.report_file.parent)).as_posix())


def _provenance(cycle: Cycle, inputs: Mapping[str, str]) -> dict[str, str]:
    made_by = provenance()
    tables = {f"Table {table}": f"version {version}" for table, version in inputs.items() if table != "panel"}
    return {
        "Trendmill": made_by["trendmill.version"],
        "Commit": made_by["trendmill.git_sha"],
        "Panel": inputs["panel"],
        **tables,
        "Seed": str(cycle.seed),
    }
