"""Losses of quantile networks, and of networks that fill in what was hidden."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["censored_pinball", "masked_error"]

Tensor = Any
"""A tensor of whichever back end Keras runs on."""


def censored_pinball(levels: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the pinball loss, summed over levels, averaged over targets by their weights.

    The loss takes `target` `[B, H, 3]`, whose last axis holds the value, its weight (0 where nothing is known) and
    whether it is censored (1) or not (0), and `forecast` `[B, H, Q]`. A censored value is the least that demand can
    have been, as where an item ran out of stock: a forecast below it costs what it always does, one above it nothing.
    (Koenker and Bassett, Regression Quantiles, Econometrica 46(1), 1978; Powell, Censored Regression Quantiles,
    Journal of Econometrics 32(1), 1986.)

    Example:
        >>> import numpy as np
        >>> loss = censored_pinball([0.5])
        >>> target = np.array([[[3.0, 1.0, 0.0], [9.0, 0.0, 0.0]]])
        >>> float(loss(target, np.array([[[1.0], [1.0]]])))
        2.0
        >>> sold_out = np.array([[[3.0, 1.0, 1.0]]])
        >>> float(loss(sold_out, np.array([[[1.0]]]))), float(loss(sold_out, np.array([[[5.0]]])))
        (2.0, 0.0)
    """

    def loss(target: Tensor, forecast: Tensor) -> Tensor:
        level = ops.cast(levels, forecast.dtype)
        target = ops.cast(target, forecast.dtype)
        value, weight, censored = target[..., :1], target[..., 1], target[..., 2:]
        error = value - forecast
        pinball = ops.maximum(level * error, (1 - censored) * (level - 1) * error)
        return 2 * _weighted_mean(ops.sum(pinball, axis=-1), weight)

    return loss


def masked_error(target: Tensor, output: Tensor) -> Tensor:
    """Return the mean absolute error of `output` `[B, L]`; `target` `[B, L, 2]` holds the value and its weight."""
    target = ops.cast(target, output.dtype)
    return _weighted_mean(ops.abs(target[..., 0] - output), target[..., 1])


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return ops.sum(values * weight) / ops.maximum(ops.sum(weight), keras.config.epsilon())
