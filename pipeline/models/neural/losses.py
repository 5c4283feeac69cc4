"""Losses of quantile networks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["masked_pinball"]

Tensor = Any
"""A tensor of whichever back end Keras runs on."""


def masked_pinball(levels: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the pinball loss, summed over levels, averaged over targets by their weights.

    The loss takes `target` `[B, H, 2]`, whose last axis holds the value and its weight (0 where not observed), and
    `forecast` `[B, H, Q]`. (Koenker and Bassett, Regression Quantiles, Econometrica 46(1), 1978.)

    Example:
        >>> import numpy as np
        >>> loss = masked_pinball([0.5])
        >>> target = np.array([[[3.0, 1.0], [9.0, 0.0]]])
        >>> float(loss(target, np.array([[[1.0], [1.0]]])))
        2.0
    """

    def loss(target: Tensor, forecast: Tensor) -> Tensor:
        level = ops.cast(levels, forecast.dtype)
        target = ops.cast(target, forecast.dtype)
        value, weight = target[..., :1], target[..., 1]
        error = value - forecast
        pinball = ops.sum(ops.maximum(level * error, (level - 1) * error), axis=-1)
        return 2 * ops.sum(pinball * weight) / ops.maximum(ops.sum(weight), keras.config.epsilon())

    return loss
