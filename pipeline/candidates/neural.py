"""Settings of the neural forecasters."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.settings import Settings

__all__ = ["LSTMSettings"]


class LSTMSettings(Settings):
    """An LSTM encoder of the past, with a dense decoder that sees the known future (Keras)."""

    model: Literal["lstm"]
    units: PositiveInt = 48
    context_periods: PositiveInt | None = None
    """Periods that the encoder sees, rounded up to whole steps; 56 days or 56 weeks where none is given."""
    periods_per_step: PositiveInt | None = None
    """Periods that the encoder reads at once, 7 days or 4 weeks: a week a step is fast and keeps weekdays apart."""
    epochs: PositiveInt = 6
    steps_per_epoch: PositiveInt = 40
    closing_steps: int = Field(default=40, ge=0)
    """Steps on the whole history once the best epoch is known by a held-out tail."""
    patience: PositiveInt = 3
    """Epochs without a lower held-out loss after which learning stops."""
    batch_size: PositiveInt = 256
    learning_rate: float = Field(default=6e-3, gt=0, le=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
