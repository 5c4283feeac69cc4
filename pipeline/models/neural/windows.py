"""Windows: batches of context and future gathered from a panel's dense, maybe memory-mapped, arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import Levels, trailing_sums
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["Sampler", "Standard", "WindowShape", "Windows"]

_LEAST_SPREAD = 1e-3

Inputs = dict[str, NDArray[Any]]
"""What the network reads: `context` `[B, L, F]`, `future` `[B, H, G]`, `static` `[B, C]`, `level` `[B, 1]`."""
Rows = NDArray[np.intp]


class WindowShape(NamedTuple):
    """How far a window reaches back and ahead, in periods."""

    context: int
    horizon: int


@dataclass(frozen=True)
class Standard:
    """Mean and spread of the covariates in the history that a network learnt from."""

    moments: Mapping[str, tuple[float, float]]
    """By the covariate's name."""

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Return the moments of the panel's covariates over its history."""
        periods = panel.y.shape[1]
        arrays = (
            (panel.past_names, panel.past),
            (panel.known_names, panel.known[:, :periods]),
            (panel.shared_names, panel.shared[:periods]),
        )
        return cls({name: _moments(values[..., i]) for names, values in arrays for i, name in enumerate(names)})

    def apply(self, values: NDArray[np.floating], names: tuple[str, ...]) -> NDArray[np.float32]:
        """Return covariates `[..., K]` with mean 0 and spread 1.

        Raises:
            ValueError: if the network learnt without one of them.
        """
        unknown = [name for name in names if name not in self.moments]
        if unknown:
            msg = f"the network was fitted without the covariate '{unknown[0]}'; fit it again on such a panel"
            raise ValueError(msg)
        mean, spread = (np.array([self.moments[name][i] for name in names], np.float32) for i in (0, 1))
        return ((values - mean) / spread).astype(np.float32)


class Windows:
    """Gathers a panel's windows by series and origin; demand is relative to the item's level at the origin.

    Args:
        panel: history and known future.
        levels: group levels of the fitted model.
        standard: how covariates are scaled.
        shape: how far windows reach.
    """

    def __init__(self, panel: Panel, levels: Levels, standard: Standard, shape: WindowShape) -> None:
        self.panel = panel
        self.shape = shape
        self._rhythm = rhythm_of(panel)
        self._standard = standard
        self._prior = levels.prior(panel)
        self._static = levels.codes.encode(panel)
        self._units, self._observed = trailing_sums(panel.y), trailing_sums(panel.observed)

    def level(self, series: Rows, origin: Rows) -> NDArray[np.float64]:
        """Return the items' levels on their origins `[B]`."""
        first = np.maximum(origin + 1 - self._rhythm.level, 0)
        units, periods = (total[series, origin + 1] - total[series, first] for total in (self._units, self._observed))
        return Levels.shrunk(units, periods, self._prior[series])

    def inputs(self, series: Rows, origin: Rows) -> Inputs:
        """Return what the network may see on the origins; periods before the history are all 0."""
        level = self.level(series, origin)
        period = origin[:, None] + np.arange(1 - self.shape.context, 1)
        there = np.maximum(period, 0)
        seen = self.panel.observed[series[:, None], there] & (period >= 0)
        demand = np.where(seen, self.panel.y[series[:, None], there], 0.0) / level[:, None]
        past = self._standard.apply(self.panel.past[series[:, None], there], self.panel.past_names)
        context = (np.log1p(demand)[..., None], seen[..., None], past, *self._known(series, there))
        ahead = np.minimum(origin[:, None] + np.arange(1, self.shape.horizon + 1), self.panel.shared.shape[0] - 1)
        future = (*self._known(series, ahead), self._same_season(demand, seen))
        return {
            "context": np.concatenate(context, axis=-1, dtype=np.float32) * (period >= 0)[..., None],
            "future": np.concatenate(future, axis=-1, dtype=np.float32),
            "static": self._static[series],
            "level": np.log(level)[:, None].astype(np.float32),
        }

    def targets(self, series: Rows, origin: Rows, last: int) -> NDArray[np.float32]:
        """Return demand relative to the level, and its weight in the loss `[B, H, 2]`.

        Periods not observed or after the last one weigh nothing; fast sellers weigh more, as in the score.
        """
        period = origin[:, None] + np.arange(1, self.shape.horizon + 1)
        there = np.minimum(period, self.panel.y.shape[1] - 1)
        level = self.level(series, origin)[:, None]
        counts = self.panel.observed[series[:, None], there] & (period <= last)
        demand = self.panel.y[series[:, None], there] / level
        return np.stack([demand, counts * np.sqrt(level)], axis=-1).astype(np.float32)

    def _known(self, series: Rows, period: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the series' own and the shared covariates of periods `[B, N]`, each `[B, N, K]`."""
        own = self._standard.apply(self.panel.known[series[:, None], period], self.panel.known_names)
        return own, self._standard.apply(self.panel.shared[period], self.panel.shared_names)

    def _same_season(self, demand: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.floating]:
        """Return the mean and the last of the context's demand at each lead's place in the season, as logs `[B, H, 2]`.

        The mean counts one period at the item's level, so that a context without that place gives 1.
        """
        lead = np.arange(1, self.shape.horizon + 1)
        season = self._rhythm.season
        newest = self.shape.context - 1 + lead - season * -(-lead // season)
        place = newest[:, None] - season * np.arange(max(self.shape.context // season, 1))
        there = np.maximum(place, 0)
        counts = seen[:, there] & (place >= 0)
        units = np.where(counts, demand[:, there], 0.0)
        mean = (units.sum(axis=-1) + 1) / (counts.sum(axis=-1) + 1)
        return np.log1p(np.stack([mean, units[..., 0]], axis=-1))


@dataclass(frozen=True)
class Sampler:
    """Draws batches of windows by a seed: the same step of the same epoch is always the same batch."""

    windows: Windows
    origins: range
    """Periods with which a window may end."""
    last: int
    """Targets after this period weigh nothing."""
    batch_size: int
    seed: int

    def batch(self, epoch: int, step: int) -> tuple[Inputs, NDArray[np.float32]]:
        """Return inputs and targets of one batch, any series and origin being as likely as any other."""
        rng = np.random.default_rng((self.seed, epoch, step))
        series = rng.integers(self.windows.panel.y.shape[0], size=self.batch_size)
        origin = rng.integers(self.origins.start, self.origins.stop, size=self.batch_size)
        return self.windows.inputs(series, origin), self.windows.targets(series, origin, self.last)


def _moments(values: NDArray[np.floating]) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), _LEAST_SPREAD)
