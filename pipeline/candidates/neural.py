"""Settings of the neural forecasters."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = [
    "CnnLSTMSettings",
    "GRUSettings",
    "LSTMSettings",
    "NeuralSettings",
    "PatchTransformerSettings",
]

_Share = Annotated[float, Field(ge=0, lt=1)]


class NeuralSettings(Settings):
    """What all networks have in common: what they see, how long they learn, and what is done against learning by heart.

    Counts of periods that are not given follow from the market's frequency.
    """

    units: PositiveInt = 48
    """Width of the network."""
    context_periods: PositiveInt | None = None
    """Periods that the encoder sees, rounded up to whole steps."""
    periods_per_step: PositiveInt | None = None
    """Periods that are read at once, 7 days or 4 weeks: a week a step is fast and keeps weekdays apart."""

    epochs: PositiveInt = 8
    steps_per_epoch: PositiveInt = 40
    closing_steps: int = Field(default=40, ge=0)
    """Steps on the whole history once the best epoch is known by a held-out tail."""
    patience: PositiveInt = 3
    """Epochs without a lower held-out loss after which learning stops."""
    fine_tune_epochs: PositiveInt = 2
    """Epochs that a network learns for which starts from an earlier version."""
    batch_size: PositiveInt = 256
    learning_rate: float = Field(default=6e-3, gt=0, le=1)
    """Highest rate of the schedule."""

    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    """L2 penalty, decoupled from the gradient as AdamW does it."""
    dropout: _Share = 0.0
    averaging: _Share = 0.98
    """How much of the moving average of the weights stays at each step; the average forecasts. 0: the last weights."""

    jitter: float = Field(default=0.0, ge=0)
    """Spread of the noise on the log of past demand while learning."""
    scaling: float = Field(default=0.0, ge=0)
    """Spread of the log of a factor on a window's demand, past and future, while learning."""
    warping: _Share = 0.0
    """Share of the windows of which a part is stretched and the rest squeezed while learning."""
    masking: _Share = 0.0
    """Share of a window's steps that are hidden, as if never observed, while learning."""
    adversarial: float = Field(default=0.0, ge=0)
    """How far continuous inputs are moved against the network while learning (FGSM), beside the true ones."""


class LSTMSettings(NeuralSettings):
    """Stacked LSTM encoder of the past, and a decoder LSTM that reads the known future (Keras)."""

    model: Literal["lstm"]
    layers: PositiveInt = 2
    """LSTMs on top of one another, in the encoder as in the decoder."""


class GRUSettings(NeuralSettings):
    """GRU encoder of the past, with a dense decoder that sees the known future (Keras)."""

    model: Literal["gru"]
    layers: PositiveInt = 1
    """GRUs on top of one another."""


class CnnLSTMSettings(NeuralSettings):
    """Convolutions along the past, an LSTM over what they find, and a dense decoder (Keras)."""

    model: Literal["cnn_lstm"]
    kernel_periods: PositiveInt | None = None
    """Periods that a convolution sees at once; as many as are read in one step where none is given."""


class PatchTransformerSettings(NeuralSettings):
    """Transformer over patches of the past, first trained to fill in hidden patches of all series (Keras)."""

    model: Literal["patch_transformer"]
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    """Highest rate of the schedule."""
    pretraining_epochs: int = Field(default=4, ge=0)
    """Epochs of filling in hidden patches before any forecast is learnt."""
    hidden_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of a window's patches that are hidden in pretraining."""
