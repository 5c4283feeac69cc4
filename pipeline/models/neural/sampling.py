"""Sampling: seeded batches of windows, distorted as the settings ask, to forecast from or to fill in."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.models.neural.runtime import Batch, Inputs
from pipeline.models.neural.windows import DEMAND, OWN_FUTURE, SEEN, Rows, Windows

__all__ = ["Distortion", "Hiding", "Sampler"]

_WARP_SPREAD = 0.5
"""How far the middle of a warped context is moved at most, as a share of its half."""


@dataclass(frozen=True)
class Distortion:
    """What is done to windows while a network learns, so that it does not learn them by heart.

    Each is off at 0. (Iwana and Uchida, An empirical survey of data augmentation for time series classification with
    neural networks, PLOS ONE 16(7), 2021: jittering, scaling, window warping, masking.)
    """

    jitter: float
    """Spread of the noise on the log of past demand."""
    scaling: float
    """Spread of the log of a factor on all demand of a window."""
    warping: float
    """Share of the windows of which a part is stretched and the rest squeezed."""
    masking: float
    """Share of the steps that are hidden."""
    step: int
    """Periods of a step."""
    past: int
    """Number of covariates of the past."""

    def apply(self, inputs: Inputs, targets: NDArray[np.float32], rng: np.random.Generator) -> Batch:
        """Return distorted copies of a batch's inputs and targets; the arrays given stay as they are."""
        inputs, targets = {name: values.copy() for name, values in inputs.items()}, targets.copy()
        if self.warping:
            inputs["context"] = _warped(inputs["context"], self.warping, rng)
        if self.jitter:
            context = inputs["context"]
            noise = rng.normal(0, self.jitter, context.shape[:2]) * context[..., SEEN]
            context[..., DEMAND] = np.maximum(context[..., DEMAND] + noise, 0)
        if self.scaling:
            factor = np.exp(rng.normal(0, self.scaling, (len(targets), 1))).astype(np.float32)
            _scale(inputs, targets, factor)
        if self.masking:
            hide(inputs["context"], rng.random(_steps(inputs["context"], self.step)) < self.masking, self.past)
        return inputs, targets


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
    distortion: Distortion | None = None

    def batch(self, epoch: int, step: int) -> Batch:
        """Return inputs and targets of one batch, any series and origin being as likely as any other."""
        rng = np.random.default_rng((self.seed, epoch, step))
        series, origin = _drawn(self.windows, self.origins, self.batch_size, rng)
        inputs, targets = self.windows.inputs(series, origin), self.windows.targets(series, origin, self.last)
        return self.distortion.apply(inputs, targets, rng) if self.distortion else (inputs, targets)

    def held_out(self, at_most: int) -> Batch:
        """Return windows of a part of the series that end with the last target allowed: their targets come after it."""
        series = _some(self.windows, at_most, self.seed)
        origins = np.full(len(series), self.last)
        return self.windows.inputs(series, origins), self.windows.targets(
            series, origins, self.windows.panel.y.shape[1] - 1
        )


@dataclass(frozen=True)
class Hiding:
    """Draws batches of contexts of which whole steps are hidden, and what they held: what is to be filled in."""

    INPUTS: ClassVar = ("context", "static", "state")
    """What may be seen for it: nothing that follows the context."""
    windows: Windows
    origins: range
    batch_size: int
    seed: int
    share: float
    """Share of the steps that are hidden."""
    step: int
    """Periods of a step."""

    def batch(self, epoch: int, step: int) -> Batch:
        """Return inputs with hidden steps; targets `[B, L, 2]` hold demand, and the weight 1 where it was hidden."""
        rng = np.random.default_rng((self.seed, epoch, step))
        return self._hidden(*_drawn(self.windows, self.origins, self.batch_size, rng), rng)

    def held_out(self, at_most: int) -> Batch:
        """Return such windows of a part of the series, that end with the last origin."""
        series = _some(self.windows, at_most, self.seed)
        origins = np.full(len(series), self.origins.stop - 1)
        return self._hidden(series, origins, np.random.default_rng(self.seed))

    def _hidden(self, series: Rows, origin: Rows, rng: np.random.Generator) -> Batch:
        inputs = _only(self.windows.inputs(series, origin), self.INPUTS)
        context = inputs["context"]
        demand, seen = context[..., DEMAND].copy(), context[..., SEEN].copy()
        steps = rng.random(_steps(context, self.step)) < self.share
        hide(context, steps, len(self.windows.panel.past_names))
        return inputs, np.stack([demand, seen * (context[..., SEEN] == 0)], axis=-1)


def hide(context: NDArray[np.float32], steps: NDArray[np.bool_], past: int) -> None:
    """Take demand and the covariates of the past out of whole steps of a context, in place, as if never observed.

    Args:
        context: `[B, L, F]`
        steps: which steps to hide `[B, N]`.
        past: number of covariates of the past.
    """
    hidden = np.repeat(steps, context.shape[1] // steps.shape[1], axis=1)
    context[..., : SEEN + 1 + past] *= ~hidden[..., None]


def _only(inputs: Inputs, names: tuple[str, ...]) -> Inputs:
    return {name: inputs[name] for name in names}


def _drawn(windows: Windows, origins: range, size: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    series = rng.integers(windows.panel.y.shape[0], size=size)
    return series, rng.integers(origins.start, origins.stop, size=size)


def _some(windows: Windows, at_most: int, seed: int) -> Rows:
    size = windows.panel.y.shape[0]
    return np.sort(np.random.default_rng(seed).permutation(size)[:at_most])


def _steps(context: NDArray[np.float32], step: int) -> tuple[int, int]:
    return context.shape[0], context.shape[1] // step


def _scale(inputs: Inputs, targets: NDArray[np.float32], factor: NDArray[np.float32]) -> None:
    """Multiply all demand of windows by a factor `[B, 1]`, in place; logs of one plus demand stay so."""
    logs = (*np.moveaxis(inputs["future"][..., -OWN_FUTURE:-1], -1, 0), inputs["context"][..., DEMAND])
    for demand in (*logs, inputs["state"][..., 1:2]):
        demand[...] = np.log1p(np.expm1(demand) * factor)
    targets[..., 0] *= factor


def _warped(context: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return contexts in which, for a share of them, time runs faster up to some point and slower after it, or so."""
    size, length = context.shape[:2]
    place = np.linspace(-1, 1, length)
    bend = np.where(rng.random(size) < share, rng.uniform(-_WARP_SPREAD, _WARP_SPREAD, size), 0.0)[:, None]
    source = place + bend * (1 - np.abs(place))
    nearest = np.rint((source + 1) / 2 * (length - 1)).astype(np.intp)
    return context[np.arange(size)[:, None], nearest]
