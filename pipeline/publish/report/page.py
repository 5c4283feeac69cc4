"""From content and charts to the page's HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import resources

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined

from pipeline.publish.report import charts
from pipeline.publish.report.content import Content, Scores

__all__ = ["render"]

NOMINAL_COVERAGE = 0.8
COVERAGE_TOLERANCE = 0.05
"""How far the coverage may lie from nominal and still be called close to it."""
_FOLDER = resources.files("pipeline.publish.report")


@dataclass(frozen=True)
class _Metric:
    name: str
    label: str
    form: str
    """Format specification."""
    about: str
    ideal: float = 0.0


_METRICS = (
    _Metric(
        "wql", "WQL", ".4f",
        "Weighted quantile loss: how far the whole fan lay from what came, as a share of what was sold, averaged over "
        "the nine quantiles. Lower is better; it decides who wins.",
    ),
    _Metric(
        "wape", "WAPE", ".1%",
        "Weighted absolute percentage error: the median’s absolute errors as a share of what was sold. Item by item "
        "and period by period, slow sellers miss by much, so it is far larger than the error of a total.",
    ),
    _Metric(
        "mase", "MASE", ".3f",
        "Mean absolute scaled error: the median’s error in units of each item’s seasonal-naive error in its own past; "
        "below 1 is better than that.",
    ),
    _Metric(
        "rmsse", "RMSSE", ".3f",
        "Root mean squared scaled error: the same for the mean, with large misses weighing more.",
    ),
    _Metric("mae", "MAE", ".3f", "Mean absolute error of the median, in units an item and period."),
    _Metric("rmse", "RMSE", ".3f", "Root mean squared error of the mean, in units an item and period."),
    _Metric(
        "bias", "Bias", "+.1%",
        "Forecast minus demand, as a share of demand: above zero too much is forecast, below zero too little.",
    ),
    _Metric(
        "coverage_80", "80 % coverage", ".1%",
        "Share of actuals between the 10 % and the 90 % quantile. Sales are small counts, so it can lie above 80 % "
        "where much sells nothing for a while, without any interval being too wide.",
        NOMINAL_COVERAGE,
    ),
)  # fmt: skip


def render(content: Content) -> str:
    """Return the page; the same content gives the same text."""
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": _count, "units": _units, "share": _share, "day": _day, "signed": _signed}
    axis = charts.Axis(content.market.period_days)
    draw_mover = partial(charts.mover_fan, axis=axis, has_promotions=content.has_promotions)
    metrics = _metrics(content.scores)
    lines = _lines(content)
    top = max((float(np.nanmax([part.actual.units, part.mean], initial=1)) for part in content.origins), default=1)
    return environment.get_template("page.html").render(
        content=content,
        night=content.night,
        market=content.market,
        unit=content.market.period_name,
        metrics=metrics,
        best=_best(content.scores, metrics),
        coverage_word=_coverage_word(content.night.best.coverage_80),
        total_chart=charts.total(content.total, content.total_mean, content.holidays, axis),
        movers=[
            ("Rising", "up", [(mover, draw_mover(mover)) for mover in content.risers]),
            ("Falling", "down", [(mover, draw_mover(mover)) for mover in content.fallers]),
        ],
        lines=lines,
        lead_chart=charts.error_by_lead(lines, axis),
        reliability_chart=charts.reliability(content.reliability),
        origins=[(part, charts.origin_total(part, top * 1.08, axis)) for part in content.origins],
    )


def _source(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _metrics(scores: Sequence[Scores]) -> tuple[_Metric, ...]:
    """Return the metrics that were scored, known ones first."""
    scored = {name for line in scores for name in line.overall}
    known = [metric for metric in _METRICS if metric.name in scored]
    others = sorted(scored - {metric.name for metric in known})
    return (*known, *(_Metric(name, name, ".4f", "", float("nan")) for name in others))


def _best(scores: Sequence[Scores], metrics: Sequence[_Metric]) -> Mapping[str, frozenset[str]]:
    """Return the candidates that are best by each metric; none where only one competes."""
    best = {}
    for metric in metrics:
        misses = {line.candidate: abs(line.overall.get(metric.name, np.nan) - metric.ideal) for line in scores}
        finite = [miss for miss in misses.values() if np.isfinite(miss)]
        least = min(finite) if len(finite) > 1 else np.nan
        best[metric.name] = frozenset(name for name, miss in misses.items() if miss == least)
    return best


def _lines(content: Content) -> tuple[charts.Line, ...]:
    places = {name: number for number, name in enumerate(content.market.candidates)}
    night = content.night
    return tuple(
        charts.Line.of(
            line.candidate,
            places.get(line.candidate, len(places)),
            line.wql_by_lead,
            baseline=line.candidate == night.baseline,
            winner=line.candidate == night.winner,
        )
        for line in content.scores
    )


def _coverage_word(coverage: float) -> str:
    if not np.isfinite(coverage):
        return "nothing could be scored"
    if abs(coverage - NOMINAL_COVERAGE) <= COVERAGE_TOLERANCE:
        return "close to nominal"
    return "more than nominal" if coverage > NOMINAL_COVERAGE else "less than nominal"


def _count(value: int) -> str:
    return f"{value:,}"


def _units(value: float) -> str:
    """Return units with a decimal only where it tells something."""
    return f"{value:z,.0f}" if abs(value) >= 10 else f"{value:z,.1f}"  # noqa: PLR2004 - two digits say enough


def _signed(value: float) -> str:
    text = f"{value:+z,.0f}" if abs(value) >= 10 else f"{value:+z,.1f}"  # noqa: PLR2004
    return text.replace("-", "−")


def _share(value: float | None, form: str = ".1%") -> str:
    """Return a number in a form; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    sign, rest = ("+", form[1:]) if form.startswith("+") else ("", form)
    return format(value, f"{sign}z{rest}").replace("-", "−").replace("%", "\u202f%")


def _day(value: date) -> str:
    return f"{value.day} {value:%B} {value.year}"
