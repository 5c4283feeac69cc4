"""Stacked LSTM encoder-decoder."""

from typing import ClassVar

from keras import layers

from pipeline.candidates.neural import LSTMSettings
from pipeline.models.neural.blocks import ahead, in_steps, lead_by_lead
from pipeline.models.neural.network import NeuralForecaster
from pipeline.models.neural.runtime import Tensor

__all__ = ["LSTM"]


class LSTM(NeuralForecaster):
    """Stacked LSTMs read the past several periods a step; as many go on from there and read the known future.

    (Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997; Sutskever et al., Sequence to
    Sequence Learning with Neural Networks, 2014, arXiv:1409.3215.)
    """

    name: ClassVar[str] = "lstm"
    settings: LSTMSettings

    def _decoded(self, context: Tensor, future: Tensor, about: Tensor) -> Tensor:
        units, step, horizon = self.settings.units, self._architecture.step, self._architecture.horizon
        past, coming = in_steps(context, step), in_steps(future, step)
        states = []
        for _ in range(self.settings.layers):
            past, *state = layers.LSTM(units, return_sequences=True, return_state=True)(past)
            states.append(state)
        coming = layers.Concatenate()([coming, layers.RepeatVector(coming.shape[1])(about)])
        for state in states:
            coming = layers.LSTM(units, return_sequences=True)(coming, initial_state=state)
        coming = layers.Dropout(self.settings.dropout)(coming)
        return lead_by_lead(future, ahead(coming, step, horizon, units), units, self.settings.dropout)
