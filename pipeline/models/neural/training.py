"""Training: seeded steps under a warm-up and cosine schedule, stopped early by a held-out tail."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import QUANTILES, Progress
from pipeline.models.neural.losses import masked_pinball
from pipeline.models.neural.windows import Inputs, Sampler, Windows
from pipeline.models.rhythm import rhythm_of

__all__ = ["Plan", "learn"]

_HELD_OUT_WINDOWS = 2048
_WARM_UP_SHARE = 0.15
_FIRST_RATE, _LAST_RATE = 0.1, 0.05
"""Learning rates at the start and at the end, relative to the highest."""
_CLOSING_RATE = 0.25
"""Learning rate of the closing steps, relative to the highest."""
_WEIGHT_DECAY = 1e-4
_CLIP_NORM = 1.0
_SHORT_HISTORY_SHARE = 4
"""At most a fourth of a short history is held out."""
Batch = tuple[Inputs, NDArray[np.float32]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn."""

    epochs: int
    steps_per_epoch: int
    closing_steps: int
    """Steps on the whole history, the held-out tail included, once the best epoch is known."""
    patience: int
    """Epochs without a lower held-out loss after which learning stops."""
    batch_size: int
    learning_rate: float
    seed: int


def learn(network: keras.Model, windows: Windows, plan: Plan, progress: Progress | None) -> bool:
    """Train the network on its windows; return False, leaving it as it is, where the history is too short.

    The last periods are held out as long as epochs are compared; the best epoch's weights then learn from all for a
    few steps at the lowest rate.
    """
    periods = windows.panel.y.shape[1]
    tail = min(windows.shape.horizon, periods // _SHORT_HISTORY_SHARE)
    first = min(rhythm_of(windows.panel).warm_up, periods // 2) - 1
    last = periods - 1
    if first < 0 or not tail or first >= last - tail:
        return False
    optimizer = keras.optimizers.AdamW(weight_decay=_WEIGHT_DECAY, clipnorm=_CLIP_NORM)
    optimizer.build(network.trainable_variables)  # else the first step is traced twice
    network.compile(optimizer, masked_pinball(QUANTILES))
    early = Sampler(windows, range(first, last - tail), last - tail, plan.batch_size, plan.seed)
    _learn_until_stopped(network, early, _held_out(windows, last - tail, plan.seed), plan, progress)
    late = Sampler(windows, range(first, last), last, plan.batch_size, plan.seed)
    for step in range(plan.closing_steps):
        _step(network, late.batch(plan.epochs, step), plan.learning_rate * _CLOSING_RATE)
    return True


def _learn_until_stopped(
    network: keras.Model, sampler: Sampler, held_out: Batch, plan: Plan, progress: Progress | None
) -> None:
    """Train until the held-out loss falls no more; leave the weights of the best epoch."""
    best, best_weights, waited = math.inf, network.get_weights(), 0
    for epoch in range(plan.epochs):
        losses = [
            _step(network, sampler.batch(epoch, step), _rate(plan, epoch * plan.steps_per_epoch + step))
            for step in range(plan.steps_per_epoch)
        ]
        held_out_loss = _loss(network, held_out)
        if progress:
            progress(epoch + 1, plan.epochs, {"loss": float(np.mean(losses)), "val_loss": held_out_loss})
        waited += 1
        if held_out_loss < best:
            best, best_weights, waited = held_out_loss, network.get_weights(), 0
        if waited >= plan.patience:
            break
    network.set_weights(best_weights)


def _step(network: keras.Model, batch: Batch, rate: float) -> float:
    """Learn from one batch; return its loss."""
    network.optimizer.learning_rate = rate
    network.reset_metrics()
    return float(network.train_on_batch(*batch))


def _loss(network: keras.Model, batch: Batch) -> float:
    inputs, targets = batch
    return float(masked_pinball(QUANTILES)(targets, network(inputs, training=False)))


def _rate(plan: Plan, step: int) -> float:
    """Return a step's learning rate: a linear rise, then half a cosine down."""
    done = step / max(plan.epochs * plan.steps_per_epoch, 1)
    if done < _WARM_UP_SHARE:
        return plan.learning_rate * (_FIRST_RATE + (1 - _FIRST_RATE) * done / _WARM_UP_SHARE)
    fall = (1 + math.cos(math.pi * (done - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE))) / 2
    return plan.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * fall)


def _held_out(windows: Windows, origin: int, seed: int) -> Batch:
    """Return one window a series whose targets are the held-out tail."""
    size = windows.panel.y.shape[0]
    count = min(size, _HELD_OUT_WINDOWS)
    series = np.sort(np.random.default_rng(seed).permutation(size)[:count])
    origins = np.full(count, origin)
    return windows.inputs(series, origins), windows.targets(series, origins, windows.panel.y.shape[1] - 1)
