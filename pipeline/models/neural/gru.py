"""GRU encoder with a dense decoder."""

from typing import ClassVar

from keras import layers

from pipeline.candidates.neural import GRUSettings
from pipeline.models.neural.blocks import in_steps, lead_by_lead
from pipeline.models.neural.network import NeuralForecaster
from pipeline.models.neural.runtime import Tensor

__all__ = ["GRU"]


class GRU(NeuralForecaster):
    """GRUs read the past several periods a step; a dense decoder joins what they keep with each lead's known future.

    (Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014, arXiv:1406.1078.)
    """

    name: ClassVar[str] = "gru"
    settings: GRUSettings

    def _decoded(self, context: Tensor, future: Tensor, about: Tensor) -> Tensor:
        units, dropout = self.settings.units, self.settings.dropout
        past = in_steps(context, self._architecture.step)
        for _ in range(self.settings.layers - 1):
            past = layers.GRU(units, return_sequences=True)(past)
        encoded = layers.Concatenate()([layers.GRU(units)(past), about])
        encoded = layers.Reshape((1, -1))(layers.Dropout(dropout)(encoded))
        return lead_by_lead(future, encoded, units, dropout)
