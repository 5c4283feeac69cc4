"""Training: seeded steps under a warm-up and cosine schedule, stopped early by a held-out tail, weights averaged."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from keras.optimizers import schedules

from pipeline.models.base import Progress
from pipeline.models.neural import runtime
from pipeline.models.neural.checkpoints import Checkpoint, Standing, Values
from pipeline.models.neural.runtime import Batch, Learn, Sizes, Tensor

__all__ = ["Course", "Plan"]

_HELD_OUT_WINDOWS = 2048
_HELD_OUT_AT_ONCE = 512
_WARM_UP_SHARE = 0.15
_FIRST_RATE, _LAST_RATE = 0.1, 0.05
"""Learning rates at the start and at the end, relative to the highest."""
_CLOSING_RATE = 0.25
"""Learning rate of the closing steps, relative to the highest."""
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn."""

    epochs: int
    steps_per_epoch: int
    closing_steps: int
    """Steps on the whole history, the held-out tail included, once the best epoch is known."""
    patience: int
    """Epochs without a lower held-out loss after which learning stops."""
    learning_rate: float
    weight_decay: float
    averaging: float
    """How much of the moving average of the weights stays at each step; 0: no average is kept."""

    @property
    def steps(self) -> int:
        """How many steps there are before the closing ones."""
        return self.epochs * self.steps_per_epoch


class Source(Protocol):
    """Where batches come from."""

    def batch(self, epoch: int, step: int) -> Batch:
        """Return a step's batch, always the same one."""

    def held_out(self, at_most: int) -> Batch:
        """Return windows to compare epochs by."""


class Course:
    """A network's course of learning from one source, epoch by epoch, to be left and taken up again at any epoch's end.

    Args:
        network: what learns.
        loss: of the source's targets and the network's outputs.
        plan: how long and how fast.
        checkpoint: where the standing is kept, if anywhere.
        adversarial: how far each column of the context may be moved against the network.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: Callable[[Tensor, Tensor], Tensor],
        plan: Plan,
        checkpoint: Checkpoint | None = None,
        adversarial: Sizes = None,
    ) -> None:
        self._network, self._loss, self._plan, self._checkpoint = network, loss, plan, checkpoint
        with runtime.scope():
            self._optimizer = _optimizer(plan)
            self._optimizer.build(network.trainable_variables)
        self._learn: Learn = runtime.learner(network, self._optimizer, loss, adversarial)

    def run(self, source: Source, progress: Progress | None = None) -> None:
        """Learn until the held-out loss falls no more; leave the network as it was at the end of the best epoch."""
        standing = self._taken_up(progress)
        held_out = source.held_out(_HELD_OUT_WINDOWS)
        for epoch in range(len(standing.curve), self._plan.epochs):
            if standing.waited >= self._plan.patience:
                break
            losses = self._learn(source.batch(epoch, step) for step in range(self._plan.steps_per_epoch))
            standing = self._after(standing, float(np.mean(losses)), self._held_out_loss(held_out))
            if self._checkpoint:
                self._checkpoint.write(standing)
            self._report(standing, epoch, progress)
        self._set(standing.best_values)

    def close(self, source: Source) -> None:
        """Take the closing steps; afterwards the network's weights are their moving average."""
        self._optimizer.iterations.assign(self._plan.steps)  # from here on the schedule gives the closing rate
        self._learn(source.batch(self._plan.epochs, step) for step in range(self._plan.closing_steps))
        self._optimizer.finalize_variable_values(self._network.trainable_variables)

    def _taken_up(self, progress: Progress | None) -> Standing:
        """Return where the course stood when it was left, having told of it again, or the beginning."""
        values = self._values()
        standing = (self._checkpoint and self._checkpoint.read()) or Standing(values, values)
        self._set(standing.values)
        for epoch in range(len(standing.curve)):
            self._report(standing, epoch, progress)
        return standing

    def _after(self, standing: Standing, loss: float, held_out_loss: float) -> Standing:
        values = self._values()
        curve = [*standing.curve, (loss, held_out_loss)]
        if held_out_loss < standing.best:
            return Standing(values, values, held_out_loss, 0, curve)
        return replace(standing, values=values, waited=standing.waited + 1, curve=curve)

    def _report(self, standing: Standing, epoch: int, progress: Progress | None) -> None:
        if progress:
            loss, held_out_loss = standing.curve[epoch]
            progress(epoch + 1, self._plan.epochs, {"loss": loss, "val_loss": held_out_loss})

    def _held_out_loss(self, batch: Batch) -> float:
        """Return the loss of the averaged weights; the network goes on with its own."""
        own = self._network.get_weights()
        self._optimizer.finalize_variable_values(self._network.trainable_variables)
        inputs, targets = batch
        parts = [slice(at, at + _HELD_OUT_AT_ONCE) for at in range(0, len(targets), _HELD_OUT_AT_ONCE)]
        outputs = [self._network({name: values[at] for name, values in inputs.items()}, training=False) for at in parts]
        self._network.set_weights(own)
        return float(self._loss(targets, ops.concatenate(outputs)))

    def _values(self) -> Values:
        return [ops.convert_to_numpy(variable.value) for variable in self._variables()]

    def _set(self, values: Values) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self._network.variables, *self._optimizer.variables]


class _WarmUpCosine(schedules.LearningRateSchedule):
    """A linear rise, half a cosine down, and the closing rate for all steps after that."""

    def __init__(self, plan: Plan) -> None:
        rise = max(round(_WARM_UP_SHARE * plan.steps), 1)
        self._plan = plan
        self._planned = schedules.CosineDecay(
            _FIRST_RATE * plan.learning_rate,
            max(plan.steps - rise, 1),
            alpha=_LAST_RATE,
            warmup_target=plan.learning_rate,
            warmup_steps=rise,
        )

    def __call__(self, step: Tensor) -> Tensor:
        closing = ops.cast(_CLOSING_RATE * self._plan.learning_rate, "float32")
        return ops.where(step < self._plan.steps, self._planned(step), closing)

    def get_config(self) -> dict[str, Any]:
        return {"plan": self._plan}


def _optimizer(plan: Plan) -> keras.optimizers.AdamW:
    averaging = {"use_ema": True, "ema_momentum": plan.averaging} if plan.averaging else {}
    return keras.optimizers.AdamW(_WarmUpCosine(plan), weight_decay=plan.weight_decay, clipnorm=_CLIP_NORM, **averaging)
