"""The page's charts, as inline SVG whose colours the page's style sheet decides.

Text stays text and takes the page's font. Colours are drawn as stand-ins that become CSS variables, so that a chart
follows the page into dark mode and onto paper.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.publish.report.content import Fan, History, Mover, OriginTotal, Reliability

__all__ = ["Axis", "Chart", "Line", "error_by_lead", "mover_fan", "origin_total", "reliability", "total"]

_INKS = ("ink", "muted", "grid", "paper", "forecast", "fan-wide", "fan-middle", "fan-narrow", "promotion", "holiday")
_HUES = tuple(f"hue-{number}" for number in range(5))
_STAND_INS = {name: f"#{number:06x}" for number, name in enumerate((*_INKS, *_HUES), start=1)}
"""CSS variable -> the colour that stands for it while matplotlib draws: near black, so that no real one is taken."""
_DASHES = ((6.0, 2.0), (2.0, 2.0), (7.0, 2.0, 2.0, 2.0), (12.0, 3.0))

_SMALL, _WIDE, _NARROW, _SQUARE, _HALF = (344, 168), (1040, 300), (360, 260), (500, 330), (530, 200)
"""Width and height, in CSS pixels."""
_FONT_PX = 11
_PROMOTION_SHARE = 0.13
"""Height of the promotions' strip below the zero line, as a share of what is above it."""
_FANS = ((0, -1, "fan-wide"), (1, -2, "fan-middle"), (2, -3, "fan-narrow"))
"""Positions of lower and upper quantile, and the tint between them: 80 %, 60 % and 40 % of outcomes."""


@dataclass(frozen=True)
class Axis:
    """What the horizontal axis counts: days or weeks."""

    period_days: int

    @property
    def name(self) -> str:
        """The word for one period."""
        return "day" if self.period_days == 1 else "week"

    @property
    def half(self) -> np.timedelta64:
        """Half a period."""
        return np.timedelta64(12 * self.period_days, "h")


@dataclass(frozen=True)
class Chart:
    """A chart for a wide page, and one for a phone."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class Line:
    """A candidate's line and how it is told from the others."""

    name: str
    colour: str
    """CSS variable."""
    dashes: tuple[float, ...]
    width: float
    values: NDArray[np.floating]

    @classmethod
    def of(cls, name: str, number: int, values: NDArray[np.floating], *, baseline: bool, winner: bool) -> "Line":
        """Return the line of a market's candidate by its place in the market's file.

        The winner's line is whole, heavy and in the colour of all its forecasts; the others are dashed, each in its own
        way, and the baseline is grey.
        """
        colour = "forecast" if winner else "muted" if baseline else _HUES[number % len(_HUES)]
        dashes = () if winner else _DASHES[number % len(_DASHES)]
        return cls(name, colour, dashes, 2.4 if winner else 1.4, values)


def total(history: History, mean: Fan, holidays: NDArray[np.datetime64], axis: Axis) -> Chart:
    """Draw the market's total by period: what was sold, then the sum of the forecast means."""

    def draw(size: tuple[int, int]) -> Markup:
        with _plot("total", size) as (axes, svg):
            for day in holidays:
                axes.axvline(day, color=_ink("holiday"), linewidth=1, dashes=(1, 2))
            axes.plot(history.days, history.units, color=_ink("ink"), linewidth=1.4)
            axes.plot(*_drawable(mean.days, mean.mean, axis), color=_ink("forecast"), linewidth=2)
            _as_of(axes, history.days[-1], axis)
            _days(axes, history.days[0], mean.days[-1], size, axis)
            _units(axes, f"units a {axis.name}")
        return svg()

    return Chart(draw(_WIDE), draw(_NARROW))


def mover_fan(mover: Mover, *, axis: Axis, has_promotions: bool) -> Markup:
    """Draw one series: history, the fan of its forecast, and a strip below for promotions where the market has any."""
    with _plot(mover.unique_id, _SMALL) as (axes, svg):
        for low, high, tint in _FANS:
            lower, upper = mover.fan.quantiles[:, low], mover.fan.quantiles[:, high]
            days, lower = _drawable(mover.fan.days, lower, axis)
            axes.fill_between(days, lower, _drawable(mover.fan.days, upper, axis)[1], color=_ink(tint), linewidth=0)
        median = mover.fan.quantiles[:, mover.fan.quantiles.shape[1] // 2]
        axes.plot(mover.history.days, mover.history.units, color=_ink("ink"), linewidth=1)
        axes.plot(*_drawable(mover.fan.days, median, axis), color=_ink("forecast"), linewidth=1.8)
        _as_of(axes, mover.history.days[-1], axis)
        _days(axes, mover.history.days[0], mover.fan.days[-1], _SMALL, axis)
        _units(axes, f"units a {axis.name}")
        if has_promotions:
            _promotions(axes, np.concatenate([mover.history.days, mover.fan.days]), mover.promotions, axis)
    return svg()


def error_by_lead(lines: Sequence[Line], axis: Axis) -> Chart:
    """Draw each candidate's weighted quantile loss by lead."""

    def draw(size: tuple[int, int]) -> Markup:
        with _plot("lead", size, below_px=40) as (axes, svg):
            for line in lines:
                leads = np.arange(1, len(line.values) + 1)
                style: dict[str, Any] = {"dashes": line.dashes} if line.dashes else {}
                axes.plot(leads, line.values, color=_ink(line.colour), linewidth=line.width, **style)
            axes.set_xlim(0.5, len(lines[0].values) + 0.5)
            axes.set_xticks(_leads(len(lines[0].values), axis))
            axes.set_xlabel(f"lead: {axis.name}s ahead of the origin")
            _title(axes, "weighted quantile loss")
        return svg()

    return Chart(draw(_SQUARE), draw(_NARROW))


def reliability(found: Reliability) -> Chart:
    """Draw nominal levels against the shares of actuals under them."""

    def draw(size: tuple[int, int]) -> Markup:
        with _plot("reliability", size, below_px=40) as (axes, svg):
            axes.plot([0, 1], [0, 1], color=_ink("muted"), linewidth=1, dashes=(3, 2))
            axes.vlines(found.levels, found.below, found.at_or_below, color=_ink("fan-narrow"), linewidth=7)
            axes.plot(found.levels, found.at_or_below, color=_ink("forecast"), marker="o", markersize=5, linewidth=1.2)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(_ticker().MultipleLocator(0.2))
                axis.set_major_formatter(_ticker().PercentFormatter(1, decimals=0, symbol=" %"))
            axes.set_xlabel("nominal level of the quantile")
            _title(axes, "share of actuals below it")
        return svg()

    return Chart(draw(_SQUARE), draw(_NARROW))


def origin_total(found: OriginTotal, top: float, axis: Axis) -> Chart:
    """Draw the total's forecast from one origin beside what came, on a scale that all origins share."""

    def draw(size: tuple[int, int]) -> Markup:
        with _plot(f"origin {found.origin}", size) as (axes, svg):
            axes.plot(*_drawable(found.actual.days, found.actual.units, axis), color=_ink("ink"), linewidth=1.4)
            axes.plot(*_drawable(found.actual.days, found.mean, axis), color=_ink("forecast"), linewidth=2)
            _days(axes, found.actual.days[0], found.actual.days[-1], size, axis)
            _units(axes, f"units a {axis.name}", top)
        return svg()

    return Chart(draw(_HALF), draw(_SMALL))


def _ink(name: str) -> str:
    return _STAND_INS[name]


@contextmanager
def _plot(name: str, size: tuple[int, int], *, below_px: int = 24) -> Iterator[tuple[Any, Any]]:
    """Give axes of a size to draw on, and a function that returns them as SVG; `name` keeps its ids apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    width, height = size
    style = _style() | {"svg.hashsalt": f"{name} {width} {height}"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        box = (46 / width, below_px / height, (width - 46 - 18) / width, (height - below_px - 30) / height)
        axes = figure.add_axes(box)
        axes.set_axisbelow(True)
        axes.grid(axis="y")

        def svg() -> Markup:
            with mpl.rc_context(style):
                buffer = io.StringIO()
                figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
            return _inline(buffer.getvalue())

        yield axes, svg


_METADATA = ("Creator", "Date", "Format", "Type")
"""What matplotlib would write of itself and the time; a page must be the same each time."""


def _style() -> dict[str, Any]:
    return {
        "axes.edgecolor": _ink("grid"),
        "axes.facecolor": "none",
        "axes.labelcolor": _ink("muted"),
        "axes.labelsize": _FONT_PX,
        "axes.linewidth": 1,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "none",
        "font.family": "DejaVu Sans",
        "font.size": _FONT_PX,
        "grid.color": _ink("grid"),
        "grid.linewidth": 1,
        "lines.scale_dashes": False,
        "lines.solid_joinstyle": "round",
        "path.simplify": False,
        "svg.fonttype": "none",
        "text.color": _ink("muted"),
        "text.parse_math": False,
        "xtick.color": _ink("grid"),
        "xtick.labelcolor": _ink("muted"),
        "xtick.major.size": 3,
        "ytick.color": _ink("grid"),
        "ytick.labelcolor": _ink("muted"),
        "ytick.major.size": 0,
    }


def _ticker() -> Any:  # noqa: ANN401 - a module
    from matplotlib import ticker

    return ticker


def _title(axes: Any, text: str) -> None:  # noqa: ANN401 - matplotlib is untyped here
    """Say what the vertical axis counts, upright and above it."""
    axes.annotate(text, (0, 1), (-38, 13), xycoords="axes fraction", textcoords="offset pixels")


def _units(axes: Any, text: str, top: float | None = None) -> None:  # noqa: ANN401
    axes.set_ylim(0, top or max(axes.get_ylim()[1], 1))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(_ticker().FuncFormatter(_short_number))
    _title(axes, text)


def _short_number(value: float, _position: int | None = None) -> str:
    if abs(value) >= 1e6:  # noqa: PLR2004
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:,g}"  # noqa: PLR2004


def _leads(horizon: int, axis: Axis) -> list[int]:
    """Return leads to mark: the first and every whole week or fourth week, or fewer where there are many."""
    step = (7 if axis.period_days == 1 else 4) * -(-horizon // 70)
    return [1, *range(step, horizon + 1, step)]


def _days(axes: Any, first: np.datetime64, last: np.datetime64, size: tuple[int, int], axis: Axis) -> None:  # noqa: ANN401
    """Mark the axis on Mondays, as often as the width bears."""
    axes.set_xlim(first - axis.half, last + axis.half)
    days = np.arange(first, last + 1)
    mondays = days[(days.astype(np.int64) + 3) % 7 == 0]
    room = max(1, (size[0] - 64) // 56)
    ticks = mondays[:: max(1, -(-len(mondays) // room))] if len(mondays) else days[:1]
    axes.set_xticks(ticks, [_short_day(day.item()) for day in ticks])


def _short_day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _as_of(axes: Any, last: np.datetime64, axis: Axis) -> None:  # noqa: ANN401
    axes.axvline(last + axis.half, color=_ink("muted"), linewidth=1)


def _promotions(axes: Any, days: NDArray[np.datetime64], depth: NDArray[np.floating], axis: Axis) -> None:  # noqa: ANN401
    """Draw the depth of promotions as bars in a strip below the zero line, where no demand can hide them."""
    top = axes.get_ylim()[1]
    floor = -_PROMOTION_SHARE * top
    edges = np.concatenate([days, days[-1:] + axis.period_days]) - axis.half
    axes.stairs(floor * (1 - depth), edges, baseline=floor, fill=True, color=_ink("promotion"), linewidth=0)
    axes.set_ylim(floor, top)


def _drawable(
    days: NDArray[np.datetime64], values: NDArray[np.floating], axis: Axis
) -> tuple[NDArray[np.datetime64], NDArray[np.floating]]:
    """Return a line's points; a single period becomes a stroke as wide as it is, since a point draws no line."""
    if len(days) > 1:
        return days, values
    return np.concatenate([days - axis.half, days + axis.half]), np.repeat(values, 2)


def _inline(svg: str) -> Markup:
    """Return what matplotlib wrote as an element that stands in a page: no prologue, no fixed size, no foreign font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r'( (?:d|x|y)=")([^"]*)', lambda found: found[1] + _rounded(found[2]), svg)
    for name, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return Markup(svg)  # noqa: S704 - matplotlib has escaped what it wrote


def _rounded(coordinates: str) -> str:
    return re.sub(
        r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), " ".join(coordinates.split())
    )
