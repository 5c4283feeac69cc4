"""Convolutions, an LSTM, and a dense decoder."""

from typing import ClassVar

from keras import layers

from pipeline.candidates.neural import CnnLSTMSettings
from pipeline.models.neural.blocks import lead_by_lead
from pipeline.models.neural.network import NeuralForecaster
from pipeline.models.neural.runtime import Tensor

__all__ = ["CnnLSTM"]


class CnnLSTM(NeuralForecaster):
    """Convolutions find what happens within steps of the past, an LSTM what becomes of it, and dense layers forecast.

    (Sainath et al., Convolutional, Long Short-Term Memory, Fully Connected Deep Neural Networks, 2015.)
    """

    name: ClassVar[str] = "cnn_lstm"
    settings: CnnLSTMSettings

    def _decoded(self, context: Tensor, future: Tensor, about: Tensor) -> Tensor:
        units, dropout, step = self.settings.units, self.settings.dropout, self._architecture.step
        kernel = self.settings.kernel_periods or step
        found = layers.Conv1D(units, kernel, padding="causal", activation="relu")(context)
        found = layers.Conv1D(units, step, strides=step, activation="relu")(found)
        encoded = layers.Concatenate()([layers.LSTM(units)(found), about])
        encoded = layers.Reshape((1, -1))(layers.Dropout(dropout)(encoded))
        return lead_by_lead(future, encoded, units, dropout)
