"""Regression with ARMA errors on category totals, shared out to the items."""

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from statsmodels.tsa.statespace.sarimax import SARIMAX
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pipeline.candidates import CategorySarimaxSettings
from pipeline.errors import ConfigError
from pipeline.models.base import Forecaster, Progress
from pipeline.models.counts import CountSpread
from pipeline.models.levels import Levels, trailing_sums
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["CategorySarimax"]

_OFFSET = 0.3
"""Share of a group's level that is added before taking logs, so that a period without sales has one."""
_RIDGE_PERIODS = 10.0
"""Periods' worth of weight that "no effect" has in every regression effect."""
_LEAST_PERIODS_A_REGRESSOR = 3
_USUAL_ARMA = (0.95, -0.75)
"""AR and MA coefficient where they cannot be estimated: close to exponential smoothing by a fifth a period."""
_MOST_STEPS = 20
_SHARE_EFFECT_LIMITS = (0.2, 5.0)
_MOST_LOG_RISE = 2.0
"""Largest forecast rise above the group's level on the log scale: e² is sevenfold."""
_LEAST_TOTAL = 0.02
"""Units a period below which no group's level falls."""
_LEAST_SPREAD = 1e-6
_EVERYTHING = "all items"
_PRICE = "price_ratio"
"""Name of the covariate that tells a price's log ratio to its mean before."""
_STATE_FILE = "state.json"
_BLAS_THREADS = 1
"""Matrices this small are several times slower on more."""


@dataclass(frozen=True)
class _GroupModel:
    """One group's parameters; the neutral ones repeat the recent level."""

    effects: NDArray[np.float64]
    """Intercept and effects of the standardised regressors on the log total `[1 + R]`."""
    arma: tuple[float, float] = _USUAL_ARMA
    smearing: float = 1.0
    """Mean of exp(error): turns a forecast's exponential, a median, into a mean."""


class CategorySarimax(Forecaster):
    """Regression with ARMA(1, 1) errors on each group's log total, shared out to the group's items.

    Regressors are the shared covariates (weekday or season of the year, holidays) and the group's mean of each
    known covariate (displays, mailers, planned prices). A price that is known only after its period is carried on
    over the horizon. Effects are estimated first, shrunk by ridge; the errors' parameters by maximum likelihood
    given them. Items take their recent share, moved by how demand answers
    to their own covariates, and scatter about their mean as counts do. The panel must hold whole groups, the same
    in `fit` and `predict`, for shares to add up. (Harvey, Forecasting, Structural Time Series Models and the Kalman
    Filter, ch. 7; Duan, Smearing Estimate, JASA 78(383), 1983; top-down shares: Gross and Sohl, Journal of
    Forecasting 9(3), 1990.)
    """

    name: ClassVar[str] = "category_sarimax"
    settings: CategorySarimaxSettings
    _days: tuple[np.datetime64, np.datetime64]
    """First day of the first and of the last period of the fit."""
    _models: dict[str, "_GroupModel"]

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Estimate every group's parameters; `predict` only filters later observations with them."""
        del warm_start
        panel = _with_price_ahead(panel)
        self._days = (panel.days[0], panel.days[-1])
        self._levels = Levels.of(panel, self._share_periods(panel))
        self._standard = _moments(panel)
        groups = self._groups(panel)
        self._models = {}
        with threadpool_limits(_BLAS_THREADS):
            for step, (label, group) in enumerate(groups.items(), start=1):
                self._models[label] = _fitted(group)
                if progress:
                    progress(step, len(groups), {})
            self._measure_items(panel, groups)
        return self

    def _measure_items(self, panel: Panel, groups: dict[str, "_Group"]) -> None:
        """Measure how items' shares answer to their covariates, and how items scatter about their past means."""
        mean = _past_shares(panel, groups.values(), self._share_periods(panel))
        for label, group in groups.items():
            mean[group.rows] *= group.units(group.regression(self._models[label].effects)[: panel.y.shape[1]])
        moved = _away_from_recent(panel, self._share_periods(panel))[:, : panel.y.shape[1]]
        self._share_effects = _share_effects(panel, mean, moved)
        mean *= _factor(moved, self._share_effects)
        series, day = np.nonzero(panel.observed & (mean > 0))
        self._spread = CountSpread.of(panel.unique_id, series, panel.y[series, day], mean[series, day])

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        panel = _with_price_ahead(panel)
        with threadpool_limits(_BLAS_THREADS):
            periods = panel.y.shape[1]
            moved = _away_from_recent(panel, self._share_periods(panel))[:, periods : periods + horizon]
            weights = self._weights(panel)[:, None] * _factor(moved, self._share_effects)
            mean = np.empty((panel.y.shape[0], horizon))
            for label, group in self._groups(panel).items():
                own = weights[group.rows]
                has_history = panel.observed[group.rows].any(axis=1)
                if has_history.any():
                    total = _forecast(group, self._models.get(label) or group.unfitted(), horizon)
                    own = own * total / own[has_history].sum(axis=0)
                mean[group.rows] = own
        return self._spread.quantiles(panel, mean), mean

    def save(self, folder: Path) -> None:
        """Write all parameters as JSON."""
        state = {
            "days": [str(day) for day in self._days],
            "levels": self._levels.as_json(),
            "standard": self._standard.tolist(),
            "share_effects": self._share_effects.tolist(),
            "spread": self._spread.as_json(),
            "models": {
                label: {"effects": model.effects.tolist(), "arma": model.arma, "smearing": model.smearing}
                for label, model in self._models.items()
            },
        }
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state: dict[str, Any] = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        first, last = (np.datetime64(day, "D") for day in state["days"])
        self._days = (first, last)
        self._levels = Levels.from_json(state["levels"])
        self._standard = np.asarray(state["standard"])
        self._share_effects = np.asarray(state["share_effects"])
        self._spread = CountSpread.from_json(state["spread"])
        self._models = {
            label: _GroupModel(np.asarray(model["effects"]), (model["arma"][0], model["arma"][1]), model["smearing"])
            for label, model in state["models"].items()
        }

    def _weights(self, panel: Panel) -> NDArray[np.float64]:
        """Return each item's recent level `[S]`; shares follow from it."""
        return self._levels.at_end(panel, self._share_periods(panel))

    def _share_periods(self, panel: Panel) -> int:
        """Return the trailing periods from which shares are taken."""
        return self.settings.share_periods or rhythm_of(panel).share

    def _groups(self, panel: Panel) -> dict[str, "_Group"]:
        """Return the panel's groups by label."""
        weights = self._weights(panel)
        return {
            label: _Group.of(panel, rows, weights[rows], self._days, self._standard)
            for label, rows in self._rows_of_groups(panel).items()
        }

    def _rows_of_groups(self, panel: Panel) -> dict[str, NDArray[np.intp]]:
        """Return the positions of each group's items by the group's label."""
        if not panel.static_names:
            return {_EVERYTHING: np.arange(panel.y.shape[0])}
        level = self.settings.level or panel.static_names[0]
        if level not in panel.static_names:
            msg = (
                f"category_sarimax groups by '{level}', which is no attribute of the items "
                f"({', '.join(panel.static_names)}); name one of these as its 'level'"
            )
            raise ConfigError(msg)
        attribute = panel.static_names.index(level)
        labels = panel.static_levels[attribute]
        codes = panel.static[:, attribute]
        return {
            labels[code] if 0 <= code < len(labels) else f"code {code}": np.flatnonzero(codes == code)
            for code in np.unique(codes)
        }


@dataclass(frozen=True)
class _Group:
    """One group's log totals and regressors."""

    rows: NDArray[np.intp]
    """Positions of the group's items in the panel."""
    log_total: NDArray[np.float64]
    """Log of the group's total relative to its level, NaN where no item is observed `[T]`."""
    regressors: NDArray[np.float64]
    """Standardised regressors `[T + H, R]`."""
    level: float
    """Mean total over the periods of the fit, in units a period."""

    @classmethod
    def of(
        cls,
        panel: Panel,
        rows: NDArray[np.intp],
        weights: NDArray[np.float64],
        fitted_days: tuple[np.datetime64, np.datetime64],
        standard: NDArray[np.float64],
    ) -> Self:
        """Return the group of some items, whose covariates count by the items' weights."""
        total = panel.y[rows].sum(axis=0, dtype=np.float64)
        seen = panel.observed[rows].any(axis=0)
        in_fit = seen & (panel.days >= fitted_days[0]) & (panel.days <= fitted_days[1])
        reference = total[in_fit if in_fit.any() else seen]
        level = max(float(reference.mean()) if len(reference) else 0.0, _LEAST_TOTAL)
        known = np.tensordot(weights / weights.sum(), panel.known[rows], axes=1)
        regressors = (np.concatenate([panel.shared, known], axis=1) - standard[0]) / standard[1]
        return cls(rows, np.where(seen, np.log(total / level + _OFFSET), np.nan), regressors, level)

    def unfitted(self) -> "_GroupModel":
        """Return parameters without effects, as for a group that the fit did not know."""
        effects = np.zeros(self.regressors.shape[1] + 1)
        effects[0] = np.log(1 + _OFFSET)
        return _GroupModel(effects)

    def regression(self, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the regressors explain of the log total `[T + H]`."""
        return effects[0] + self.regressors @ effects[1:]

    def units(self, log_total: NDArray[np.float64], smearing: float = 1.0) -> NDArray[np.float64]:
        """Return units for log totals."""
        return np.maximum(np.exp(np.minimum(log_total, _MOST_LOG_RISE)) * smearing - _OFFSET, 0) * self.level


def _with_price_ahead(panel: Panel) -> Panel:
    """Return the panel with the price among the known covariates, the last one ahead where none is planned."""
    if _PRICE not in panel.past_names:
        return panel
    price = panel.past[:, :, panel.past_names.index(_PRICE), None]
    ahead = np.repeat(price[:, -1:], panel.horizon, axis=1)
    known = np.concatenate([panel.known, np.concatenate([price, ahead], axis=1)], axis=2)
    return replace(panel, known=known, known_names=(*panel.known_names, _PRICE))


def _moments(panel: Panel) -> NDArray[np.float64]:
    """Return mean and spread of all regressors over the history `[2, R]`."""
    days = panel.y.shape[1]
    shared, known = panel.shared[:days], panel.known[:, :days]
    mean = np.concatenate([shared.mean(axis=0, dtype=np.float64), known.mean(axis=(0, 1), dtype=np.float64)])
    spread = np.concatenate([shared.std(axis=0, dtype=np.float64), known.std(axis=(0, 1), dtype=np.float64)])
    return np.stack([mean, np.where(spread > _LEAST_SPREAD, spread, np.inf)])


def _fitted(group: _Group) -> _GroupModel:
    """Return the group's parameters; too short or flat a history keeps the usual ARMA coefficients."""
    days = len(group.log_total)
    seen = np.isfinite(group.log_total)
    effects = group.unfitted().effects
    if seen.any():
        effects[0] = group.log_total[seen].mean()
    if seen.sum() < _LEAST_PERIODS_A_REGRESSOR * len(effects):
        return _GroupModel(effects)
    effects = _ridge(group.regressors[:days][seen], group.log_total[seen])
    error = group.log_total - group.regression(effects)[:days]
    if np.nanstd(error) < _LEAST_SPREAD:
        return _GroupModel(effects)
    arma, innovations = _arma(error)
    return _GroupModel(effects, arma, float(np.exp(innovations).mean()))


def _ridge(regressors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intercept and shrunk effects `[1 + R]`."""
    design = np.column_stack([np.ones(len(target)), regressors])
    penalty = np.full(design.shape[1], _RIDGE_PERIODS)
    penalty[0] = 0
    return np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ target)


def _arma(error: NDArray[np.float64]) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Return the maximum-likelihood AR and MA coefficient of the errors, and the innovations."""
    model = SARIMAX(error, order=(1, 0, 1), concentrate_scale=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = model.fit(_USUAL_ARMA, disp=0, maxiter=_MOST_STEPS, cov_type="none")
        except (np.linalg.LinAlgError, ValueError):
            result = model.filter(_USUAL_ARMA)
    seen = np.isfinite(error)
    return (float(result.params[0]), float(result.params[1])), result.resid[seen]


def _forecast(group: _Group, model: _GroupModel, horizon: int) -> NDArray[np.float64]:
    """Return the group's mean total for the periods after its history `[H]`."""
    days = len(group.log_total)
    regression = group.regression(model.effects)
    error = group.log_total - regression[:days]
    state = SARIMAX(error, order=(1, 0, 1), concentrate_scale=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ahead = state.filter(model.arma).forecast(horizon)
    return group.units(regression[days : days + horizon] + np.nan_to_num(ahead), model.smearing)


def _past_shares(panel: Panel, groups: Iterable[_Group], share_periods: int) -> NDArray[np.float64]:
    """Return each item's share of its group as known some periods before each one, 0 where it had none `[S, T]`."""
    units = trailing_sums(panel.y)
    until = np.maximum(np.arange(panel.y.shape[1]) - rhythm_of(panel).share_delay + 1, 0)
    share = units[:, until] - units[:, np.maximum(until - share_periods, 0)]
    for group in groups:
        share[group.rows] /= np.maximum(share[group.rows].sum(axis=0), 1)
    return share


def _away_from_recent(panel: Panel, share_periods: int) -> NDArray[np.float64]:
    """Return known covariates less their mean over the periods of which the share was taken `[S, T + H, K]`.

    A past period's share ends some periods before it, a coming one's with the history.
    """
    periods = panel.y.shape[1]
    total = trailing_sums(panel.known)
    period = np.arange(panel.known.shape[1])
    until = np.where(period < periods, np.maximum(period - rhythm_of(panel).share_delay + 1, 1), periods)
    first = np.maximum(until - share_periods, 0)
    return np.asarray(panel.known - (total[:, until] - total[:, first]) / (until - first)[:, None])


def _factor(moved: NDArray[np.float64], effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what factor items' own covariates move their shares `[S, N]`."""
    return np.clip(1 + moved @ effects, *_SHARE_EFFECT_LIMITS)


def _share_effects(panel: Panel, mean: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative rise of demand over its mean for a unit of each known covariate, all items pooled `[K]`.

    Weighted least squares with a ridge, the variance of a count being in proportion to its mean.
    """
    used = panel.observed & (mean > 0)
    design = moved[used] * np.sqrt(mean[used])[:, None]
    target = (panel.y[used] - mean[used]) / np.sqrt(mean[used])
    spread = moved[used].var(axis=0) if used.any() else np.ones(moved.shape[-1])
    penalty = np.diag(_RIDGE_PERIODS * np.maximum(spread, _LEAST_SPREAD))
    return np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ target), np.float64)
