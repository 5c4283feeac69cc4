"""Blocks that networks are built of: embeddings, leads, patches, attention, and ordered quantiles."""

import math
from typing import Any

from keras import layers, ops

__all__ = ["LeadShift", "ahead", "attended", "attributes", "in_steps", "lead_by_lead", "ordered", "thought_over"]

Tensor = Any
"""A tensor of whichever back end Keras runs on."""

_WIDEST_EMBEDDING = 16
_INCREMENT_SHIFT = 1.5
"""Taken off before softplus, so that an unlearnt network's quantiles lie close together."""


def attributes(static: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """Return the embedding of each static attribute, each `[B, E]`."""
    return [
        layers.Embedding(size, min(_WIDEST_EMBEDDING, 2 + math.isqrt(size)))(static[:, position])
        for position, size in enumerate(sizes)
    ]


def in_steps(values: Tensor, step: int) -> Tensor:
    """Return periods joined to steps, the last one filled up with zeros `[B, N, F]` -> `[B, N / step, step x F]`."""
    periods, columns = values.shape[1:]
    missing = -periods % step
    if missing:
        values = layers.ZeroPadding1D((0, missing))(values)
    return layers.Reshape(((periods + missing) // step, step * columns))(values)


def ahead(steps: Tensor, step: int, horizon: int, units: int) -> Tensor:
    """Return what steps ahead say of each of their leads `[B, N, U]` -> `[B, H, units]`."""
    spread = layers.Reshape((-1, units))(layers.Dense(step * units)(steps))
    return spread[:, :horizon]


def lead_by_lead(future: Tensor, encoded: Tensor, units: int, dropout: float) -> Tensor:
    """Return each lead's own view of its known future and of what was encoded `[B, H, U]`.

    Args:
        future: `[B, H, G]`
        encoded: for all leads alike `[B, 1, U]`, or for each `[B, H, U]`.
        units: width of the view.
        dropout: share that is dropped before the last layer.
    """
    seen = LeadShift()(layers.Dense(units)(future) + layers.Dense(units)(encoded))
    seen = layers.Dropout(dropout)(layers.Activation("relu")(seen))
    return layers.Dense(units, activation="relu")(seen)


def attended(tokens: Tensor, heads: int, dropout: float, source: Tensor | None = None) -> Tensor:
    """Return tokens that have looked at the source's, or at each other `[B, N, U]`.

    Normalised before looking (Xiong et al., On Layer Normalization in the Transformer Architecture, 2020).
    """
    attend = layers.MultiHeadAttention(heads, max(tokens.shape[-1] // heads, 1), dropout=dropout)
    looking = layers.LayerNormalization()(tokens)
    return tokens + attend(looking, looking if source is None else source)


def thought_over(tokens: Tensor, dropout: float) -> Tensor:
    """Return tokens, each of which has passed through two dense layers by itself `[B, N, U]`."""
    units = tokens.shape[-1]
    wide = layers.Dense(2 * units, activation="relu")(layers.LayerNormalization()(tokens))
    return tokens + layers.Dropout(dropout)(layers.Dense(units)(wide))


def ordered(decoded: Tensor, quantiles: int) -> Tensor:
    """Return quantiles that rise from the first, which is free, by positive increments, in 32 bits `[B, H, Q]`.

    The first may fall below zero, where the loss still pulls it up; forecasts are cut at zero.
    """
    outputs = layers.Dense(quantiles, dtype="float32")(decoded)
    increments = ops.softplus(outputs[..., 1:] - _INCREMENT_SHIFT)
    return ops.cumsum(ops.concatenate([outputs[..., :1], increments], axis=-1), axis=-1)


class LeadShift(layers.Layer):
    """Adds a learnt vector to each position: `[B, N, U]` -> `[B, N, U]`."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the vectors, one a position."""
        self.shift = self.add_weight(shape=input_shape[1:], initializer="zeros", name="shift")

    def call(self, values: Tensor) -> Tensor:
        """Return the values with the vectors added."""
        return values + ops.cast(self.shift, values.dtype)
