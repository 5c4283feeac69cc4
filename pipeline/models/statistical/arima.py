"""ARIMA: orders and coefficients searched for by statsforecast, for the series that sell most."""

import warnings
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.candidates.statistical import ArimaSettings
from pipeline.models.base import Progress
from pipeline.models.rhythm import rhythm_of
from pipeline.models.statistical.history import History
from pipeline.models.statistical.local import LocalForecaster
from pipeline.preprocess.panel import Panel

__all__ = ["Arima"]

_SMOOTHING = (0.1, 0.02, 0.05, 0.2, 0.35, 0.5, 0.7)
"""Shares of an error that go into the level of an ARIMA(0,1,1), which is exponential smoothing."""
_COEFFICIENTS = ("differenced", "constant", "ar1", "ar2", "ma1", "ma2")
"""A series' parameters: differenced once or not, mean or drift, and what the recursion takes of the past."""
_MOST_ORDER = 2
_MOST_MODELS = 12
"""Orders that are tried for a series."""
_LEAST_PERIODS = 30
"""Observed periods that a search needs."""


class Arima(LocalForecaster):
    """ARIMA(p, d, q) with p, q <= 2 and d <= 1 of demand over season factors.

    statsforecast searches the orders of the series that sell most (Hyndman and Khandakar, Automatic Time Series
    Forecasting, Journal of Statistical Software 27(3), 2008): a second or so a series, so their number is bounded. All
    others have the ARIMA(0,1,1) whose past errors were least, and so has a series whose search found nothing better.
    For the search alone, unobserved periods are interpolated between the levels beside them.
    """

    name: ClassVar[str] = "arima"
    settings: ArimaSettings

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Search the orders of the series that sell most and measure all errors; there is nothing to start from."""
        self._searched = frozenset(_largest(panel, self.settings.series))
        return super().fit(panel, warm_start=warm_start, progress=progress)

    def _grid(self, panel: Panel) -> NDArray[np.float64]:
        return np.array([(1.0, 0.0, 0.0, 0.0, alpha - 1, 0.0) for alpha in _SMOOTHING])

    def _own_parameters(self, history: History, rows: slice) -> NDArray[np.float64]:
        parameters = np.full((len(_COEFFICIENTS), history.units.shape[1]), np.nan)
        for column in range(history.units.shape[1]):
            if rows.start + column in self._searched:
                level = _without_gaps(history.level[:, column], history.learned[:, column])[-self.settings.periods :]
                if len(level) >= _LEAST_PERIODS and np.ptp(level) > 0:
                    parameters[:, column] = _searched(level)
        return parameters

    def _levels_ahead(
        self,
        history: History,
        parameters: NDArray[np.float64],
        origins: NDArray[np.intp],
        leads: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        state = np.zeros((5, parameters.shape[1]))
        state[0] = history.start()
        launched = np.zeros(parameters.shape[1], bool)
        states = np.empty((5, len(origins), parameters.shape[1]))
        for origin, seen, value in history.steps(origins):
            launched |= seen
            expected = _expected(state, parameters)
            state = np.where(launched, _after(state, parameters, np.where(seen, value, expected), expected), state)
            if origin >= 0:
                states[:, origin] = state
        return _ahead(states, parameters[:, None], leads)


def _expected(state: NDArray[np.float64], parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the next value.

    Args:
        state: last value, last two changes, last two errors `[5, ..., S]`. Of a series that is not differenced, a
            change is the value itself; both without the constant.
        parameters: `[6, ..., S]`
    """
    differenced, constant = parameters[0], parameters[1]
    return np.asarray(differenced * state[0] + constant + (parameters[2:] * state[1:]).sum(axis=0))


def _after(
    state: NDArray[np.float64],
    parameters: NDArray[np.float64],
    value: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the state once a value has come."""
    change = value - parameters[0] * state[0] - parameters[1]
    return np.stack([value, change, state[1], value - expected, state[3]])


def _ahead(
    states: NDArray[np.float64], parameters: NDArray[np.float64], leads: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the values that states at origins expect at leads, each the next's past `[5, O, S]` -> `[O, L, S]`."""
    path = []
    for _ in range(int(leads[-1])):
        expected = _expected(states, parameters)
        states = _after(states, parameters, expected, expected)
        path.append(expected)
    return np.stack(path, axis=1)[:, leads - 1]


def _largest(panel: Panel, number: int) -> NDArray[np.intp]:
    """Return the positions of the series that sold most lately, of equals the first."""
    units = panel.y[:, -rhythm_of(panel).level :].sum(axis=1, dtype=np.float64)
    return np.argsort(-units, kind="stable")[:number]


def _without_gaps(level: NDArray[np.float64], learned: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the levels from the first to the last that is known, those between interpolated."""
    known = np.flatnonzero(learned)
    if not len(known):
        return np.zeros(0)
    return np.interp(np.arange(known[0], known[-1] + 1), known, level[known])


def _searched(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parameters that statsforecast finds for a history, NaN where it finds none `[6]`."""
    from statsforecast.arima import auto_arima_f  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = auto_arima_f(
                level,
                max_p=_MOST_ORDER,
                max_q=_MOST_ORDER,
                max_d=1,
                seasonal=False,
                approximation=True,
                nmodels=_MOST_MODELS,
            )
        except (ValueError, np.linalg.LinAlgError):
            return np.full(len(_COEFFICIENTS), np.nan)
    return _parameters(found["coef"], differenced=float(found["arma"][5]))


def _parameters(coefficients: Mapping[str, float], differenced: float) -> NDArray[np.float64]:
    """Return the parameters of the recursion for named coefficients `[6]`."""
    constant = coefficients.get("intercept", coefficients.get("drift", 0.0))
    return np.array([differenced, constant, *(coefficients.get(name, 0.0) for name in _COEFFICIENTS[2:])])
