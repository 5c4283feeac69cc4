"""The stage's front door: score every candidate's backtest on the same rows and say who wins."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import tracking
from pipeline.backtest import origins
from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.evaluate import metrics
from pipeline.models import QUANTILES
from pipeline.models.frame import QUANTILE_COLUMNS
from pipeline.preprocess import Panel, load_panel
from pipeline.provenance import provenance
from pipeline.stage import StageReport

__all__ = ["EvaluateReport", "run"]

PRIMARY = "wql"
"""The metric that decides: weighted quantile loss."""


@dataclass(frozen=True)
class EvaluateReport(StageReport):
    """Who won the backtest, and by how much over the seasonal naive."""

    winner: str
    baseline: str
    wql: float
    baseline_wql: float
    coverage_80: float

    @property
    def gain(self) -> float:
        """Share by which the winner's loss is lower than the baseline's."""
        return 1 - self.wql / self.baseline_wql if self.baseline_wql > 0 else 0.0

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return (
            f"{self.winner} wins with a weighted quantile loss of {self.wql:.4f}, {self.gain:.1%} below "
            f"{self.baseline} ({self.baseline_wql:.4f}); its 80 % interval covers {self.coverage_80:.1%}."
        )


def run(cycle: Cycle) -> EvaluateReport:
    """Score the candidates' backtests, commit scores and verdict, and log both to MLflow.

    Raises:
        StageError: if a candidate has no backtest in this cycle, or the baseline's loss is not finite.
        FencedError: if another attempt has committed the same scores meanwhile.
    """
    scores_attempt = cycle.lake.attempt("scores", cycle=cycle.as_of)
    verdict_attempt = cycle.lake.attempt("verdicts", cycle=cycle.as_of)
    panel, _ = load_panel(cycle)
    scales = _scales(panel.until(origins(cycle)[0]))
    rows = []
    for candidate in cycle.market.candidates:
        backtest = _Backtest.of(cycle, candidate, panel, scales)
        overall = backtest.scores()
        by_lead = {lead: backtest.at(lead).scores() for lead in range(1, panel.horizon + 1)}
        rows += [_row(candidate, None, name, value) for name, value in overall.items()]
        rows += [_row(candidate, lead, name, value) for lead, found in by_lead.items() for name, value in found.items()]
        _log(cycle, candidate, overall, by_lead)
    schema = pa.schema(
        [("candidate", pa.string()), ("lead", pa.int32()), ("metric", pa.string()), ("value", pa.float64())]
    )
    scores_attempt.commit(pa.Table.from_pylist(rows, schema=schema), **provenance())
    report = _verdict(cycle, rows)
    verdict_attempt.commit(pa.Table.from_pylist([report.as_dict()]), **provenance())
    tracking.log_to_cycle(
        cycle,
        metrics={"wql": report.wql, "baseline_wql": report.baseline_wql, "coverage_80": report.coverage_80},
        description=report.summary(),
    )
    return report


@dataclass(frozen=True)
class _Backtest:
    """A candidate's forecasts beside what came, a row a series, origin and lead `[N]`."""

    y: NDArray[np.float64]
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    """`[N, Q]`"""
    lead: NDArray[np.int32]
    absolute_scale: NDArray[np.float64]
    squared_scale: NDArray[np.float64]

    @classmethod
    def of(cls, cycle: Cycle, candidate: str, panel: Panel, scales: NDArray[np.float64]) -> "_Backtest":
        held = cycle.lake.exists("backtests")
        rows = cycle.lake.read("backtests", cycle=cycle.as_of, candidate=candidate) if held else None
        if rows is None or rows.num_rows == 0:
            msg = f"The candidate '{candidate}' of {cycle.key} has no backtest; run 'trendmill backtest' for it first."
            raise StageError(msg)
        # A table has no order of its own, and sums of floats depend on theirs.
        rows = rows.sort_by([(column, "ascending") for column in ("unique_id", "origin", "lead")])
        series = np.searchsorted(panel.unique_id, rows["unique_id"].to_numpy())
        return cls(
            y=rows["y"].to_numpy().astype(np.float64),
            mean=rows["mean"].to_numpy().astype(np.float64),
            quantiles=np.stack([rows[name].to_numpy() for name in QUANTILE_COLUMNS], axis=-1).astype(np.float64),
            lead=rows["lead"].to_numpy(),
            absolute_scale=scales[0, series],
            squared_scale=scales[1, series],
        )

    def at(self, lead: int) -> "_Backtest":
        chosen = self.lead == lead
        return _Backtest(**{name: values[chosen] for name, values in vars(self).items()})

    def scores(self) -> dict[str, float]:
        median = self.quantiles[:, QUANTILES.index(0.5)]
        return {
            PRIMARY: metrics.weighted_quantile_loss(self.y, self.quantiles, QUANTILES),
            "wape": metrics.wape(self.y, median),
            "mase": metrics.mase(self.y, median, self.absolute_scale),
            "rmsse": metrics.rmsse(self.y, self.mean, self.squared_scale),
            "mae": metrics.mae(self.y, median),
            "rmse": metrics.rmse(self.y, self.mean),
            "bias": metrics.bias(self.y, self.mean),
            "coverage_80": metrics.coverage(self.y, self.quantiles[:, 0], self.quantiles[:, -1]),
        }


def _scales(panel: Panel) -> NDArray[np.float64]:
    """Return each series' mean absolute and mean squared seasonal difference, in sample `[2, S]`.

    A series whose history is shorter than a season has those of its successive periods.
    """
    seasonal, pairs = _differences(panel, panel.season)
    successive, _ = _differences(panel, 1)
    return np.where(pairs > 0, seasonal, successive)


def _differences(panel: Panel, lag: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return mean absolute and mean squared differences over a lag `[2, S]`, and of how many pairs they are `[S]`."""
    both = panel.observed[:, lag:] & panel.observed[:, :-lag]
    step = np.where(both, panel.y[:, lag:] - panel.y[:, :-lag], 0).astype(np.float64)
    pairs = both.sum(axis=1)
    count = np.maximum(pairs, 1)
    return np.stack([np.abs(step).sum(axis=1) / count, (step**2).sum(axis=1) / count]), pairs


def _row(candidate: str, lead: int | None, metric: str, value: float) -> dict[str, object]:
    return {"candidate": candidate, "lead": lead, "metric": metric, "value": value}


def _log(cycle: Cycle, candidate: str, overall: dict[str, float], by_lead: dict[int, dict[str, float]]) -> None:
    record = tracking.candidate_run(cycle, candidate)
    record.log_metrics(overall)
    record.log_curve({f"by_lead/{name}": list(_finite(name, by_lead)) for name in overall})


def _finite(name: str, by_lead: dict[int, dict[str, float]]) -> Iterator[tuple[int, float]]:
    for lead, found in by_lead.items():
        if np.isfinite(found[name]):
            yield lead, found[name]


def _verdict(cycle: Cycle, rows: list[dict[str, object]]) -> EvaluateReport:
    overall = {(row["candidate"], row["metric"]): float(str(row["value"])) for row in rows if row["lead"] is None}
    baseline = cycle.market.baseline
    finite = [name for name in cycle.market.candidates if np.isfinite(overall[name, PRIMARY])]
    if baseline not in finite:
        msg = f"The baseline '{baseline}' of {cycle.key} has no finite loss, so nothing can be measured against it."
        raise StageError(msg)
    winner = min(finite, key=lambda name: overall[name, PRIMARY])
    return EvaluateReport(
        winner=winner,
        baseline=baseline,
        wql=overall[winner, PRIMARY],
        baseline_wql=overall[baseline, PRIMARY],
        coverage_80=overall[winner, "coverage_80"],
    )
