"""One contract for every forecaster: fit on a panel, predict quantiles from an origin, save and load."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocess.panel import Panel

__all__ = ["QUANTILES", "Forecast", "Forecaster", "Progress"]

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The quantile levels of every forecast."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called as `progress(step, steps, metrics)` while a forecaster is fitted: its learning curve."""


@dataclass(frozen=True)
class Forecast:
    """Quantiles and mean of every series for the periods, days or weeks, after an origin."""

    unique_id: NDArray[np.str_]
    """`[S]`"""
    origin: date
    """The last day that the forecast knows; lead 1 is the period that begins on the day after."""
    quantiles: NDArray[np.float32]
    """At the levels `QUANTILES`: ordered and non-negative `[S, H, Q]`."""
    mean: NDArray[np.float32]
    """`[S, H]`"""
    frequency: Literal["D", "W"] = "D"
    """Whether a period is a day or a week."""

    @property
    def days(self) -> NDArray[np.datetime64]:
        """First day of each period `[H]`."""
        period_days = 7 if self.frequency == "W" else 1
        return np.datetime64(self.origin, "D") + 1 + period_days * np.arange(self.mean.shape[1])


class Forecaster(ABC):
    """A model that turns a panel into quantiles of every series' demand.

    A forecaster is built from its settings and a seed; the same settings, seed and panel give the same forecast.
    """

    name: ClassVar[str]
    """The word for this forecaster in a market's YAML."""

    def __init__(self, settings: Any, seed: int) -> None:  # noqa: ANN401 - each forecaster has a settings class
        self.settings = settings
        self.seed = seed

    @abstractmethod
    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Learn from the panel's whole history.

        Args:
            panel: history to learn from; its known future may be used, its target ends on the last day.
            warm_start: an earlier fitted forecaster of the same settings whose weights to start from.
            progress: called with the learning curve.
        """

    def predict(self, panel: Panel, origin: date, horizon: int) -> Forecast:
        """Forecast every series of the panel for the periods after the origin, as many as the horizon.

        What the panel holds after the origin, its known future apart, is cut off before the model sees it. A series
        that is sold no more is forecast to sell nothing.

        Raises:
            ValueError: if no period of the panel ends on the origin or the horizon exceeds its known future.
        """
        if not 1 <= horizon <= panel.horizon:
            msg = f"a horizon of {horizon} periods needs known covariates as far; this panel has {panel.horizon}"
            raise ValueError(msg)
        seen = panel.until(origin)
        quantiles, mean = self._predict(seen, horizon)
        sold = seen.y.shape[1] + np.arange(horizon) < seen.ends[:, None]
        quantiles = np.maximum.accumulate(np.maximum(quantiles, 0), axis=-1) * sold[..., None]
        mean = np.maximum(mean, 0) * sold
        return Forecast(seen.unique_id, origin, quantiles.astype(np.float32), mean.astype(np.float32), panel.frequency)

    @abstractmethod
    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return quantiles `[S, H, Q]` and mean `[S, H]` for the periods after the panel's last day."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted forecaster into a folder, without pickle."""

    @abstractmethod
    def _restore(self, folder: Path) -> None:
        """Take over what `save` wrote."""

    @classmethod
    def load(cls, folder: Path, settings: Any, seed: int) -> Self:  # noqa: ANN401
        """Return the forecaster that `save` wrote into the folder."""
        forecaster = cls(settings, seed)
        forecaster._restore(folder)
        return forecaster
