"""LSTM forecaster: a recurrent encoder of the past, a dense decoder that sees the known future."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from pipeline.candidates import LSTMSettings
from pipeline.models.base import QUANTILES, Forecaster, Progress
from pipeline.models.counts import CountSpread
from pipeline.models.levels import Levels
from pipeline.models.neural import runtime
from pipeline.models.neural.training import Plan, learn
from pipeline.models.neural.windows import Standard, Windows, WindowShape
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["LSTM"]

_PREDICTED_AT_ONCE = 1024
_INCREMENT_SHIFT = 1.5
"""Taken off before softplus, so that an unlearnt network's quantiles lie close together."""
_WIDEST_EMBEDDING = 16
_WEIGHTS_FILE, _STATE_FILE = "network.weights.h5", "state.json"


class _Architecture(NamedTuple):
    """What of a panel decides a network's shapes."""

    horizon: int
    context: int
    """Periods that the encoder sees."""
    step: int
    """Periods that it reads at once."""
    past: tuple[str, ...]
    known: tuple[str, ...]
    shared: tuple[str, ...]

    @property
    def covariates(self) -> tuple[tuple[str, ...], ...]:
        """Names of the covariates of the past, those known ahead, and those that all series share."""
        return self.past, self.known, self.shared


class LSTM(Forecaster):
    """An LSTM reads the context several periods a step; a dense decoder gives all quantiles of every lead in one pass.

    The encoder sees scaled demand, whether it was observed, past and known covariates; the decoder sees the encoded
    past, the item's level and static embeddings, and for each lead its known covariates, recent demand at the same
    place in the season and a shift of its own. Quantiles are a first one plus positive increments, cut at zero, and
    whole numbers where all demand is. (Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9(8),
    1997; direct multi-horizon quantiles: Wen et al., A Multi-Horizon Quantile Recurrent Forecaster, 2017,
    arXiv:1711.11053.)
    """

    name: ClassVar[str] = "lstm"
    settings: LSTMSettings
    _architecture: _Architecture
    _levels: Levels
    _standard: Standard
    _spread: CountSpread
    _network: keras.Model
    _whole: bool
    """Whether demand comes in whole units."""
    _learnt: bool
    """Whether there was history enough to learn from."""

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Learn until a held-out tail is forecast no better, then from the tail as well.

        A history of few periods leaves the network unlearnt: forecasts are the items' levels with a count spread then.
        A warm start of the same horizon and covariates lends its weights, label codes and covariate moments.
        """
        runtime.prepare(self.seed)
        self._architecture = self._architecture_for(panel)
        teacher = warm_start if warm_start and warm_start._architecture == self._architecture else None  # noqa: SLF001
        self._levels = Levels.of(panel, rhythm_of(panel).level, teacher._levels.codes if teacher else None)  # noqa: SLF001
        self._standard = teacher._standard if teacher else Standard.of(panel)  # noqa: SLF001
        self._spread = CountSpread.unmeasured(panel.unique_id)
        self._whole = bool((panel.y == np.round(panel.y)).all())
        self._network = self._built()
        if teacher:
            self._network.set_weights(teacher._network.get_weights())  # noqa: SLF001
        self._learnt = learn(self._network, self._windows(panel), self._plan(), progress) or bool(teacher)
        return self

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        if horizon > self._architecture.horizon:
            msg = f"this network forecasts {self._architecture.horizon} periods, not {horizon}; fit it on such a panel"
            raise ValueError(msg)
        windows = self._windows(panel)
        size, periods = panel.y.shape
        series, origin = np.arange(size), np.full(size, periods - 1)
        level = windows.level(series, origin)[:, None]
        if not self._learnt:
            mean = np.repeat(level, horizon, axis=1)
            return self._spread.quantiles(panel, mean), mean
        outputs = [self._network(windows.inputs(series[at], origin[at]), training=False) for at in _chunks(size)]
        quantiles = np.concatenate([ops.convert_to_numpy(output) for output in outputs])[:, :horizon]
        quantiles = np.maximum(quantiles * level[..., None], 0)
        return np.round(quantiles) if self._whole else quantiles, _mean(quantiles)

    def save(self, folder: Path) -> None:
        """Write Keras' weights, and the rest as JSON."""
        self._network.save_weights(folder / _WEIGHTS_FILE)
        state = {
            "architecture": self._architecture._asdict(),
            "levels": self._levels.as_json(),
            "standard": self._standard.moments,
            "spread": self._spread.as_json(),
            "whole": self._whole,
            "learnt": self._learnt,
        }
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        horizon, context, step, *names = state["architecture"].values()
        self._architecture = _Architecture(horizon, context, step, *(tuple(group) for group in names))
        self._levels = Levels.from_json(state["levels"])
        self._standard = Standard({name: (mean, spread) for name, (mean, spread) in state["standard"].items()})
        self._spread = CountSpread.from_json(state["spread"])
        self._whole, self._learnt = state["whole"], state["learnt"]
        runtime.configure()
        self._network = self._built()
        self._network.load_weights(folder / _WEIGHTS_FILE)

    def _windows(self, panel: Panel) -> Windows:
        architecture = self._architecture
        found = (panel.past_names, panel.known_names, panel.shared_names)
        if found != architecture.covariates:
            fitted = architecture.covariates
            msg = f"this network was fitted with the covariates {fitted}, not {found}; fit it on such a panel"
            raise ValueError(msg)
        return Windows(panel, self._levels, self._standard, WindowShape(architecture.context, architecture.horizon))

    def _architecture_for(self, panel: Panel) -> _Architecture:
        """Return what the settings and a panel ask for; the context is rounded up to whole steps."""
        rhythm = rhythm_of(panel)
        step = self.settings.periods_per_step or rhythm.step
        context = math.ceil((self.settings.context_periods or rhythm.context) / step) * step
        return _Architecture(panel.horizon, context, step, panel.past_names, panel.known_names, panel.shared_names)

    def _plan(self) -> Plan:
        chosen = self.settings
        return Plan(
            epochs=chosen.epochs,
            steps_per_epoch=chosen.steps_per_epoch,
            closing_steps=chosen.closing_steps,
            patience=chosen.patience,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            seed=self.seed,
        )

    def _built(self) -> keras.Model:
        """Return the network: `context`, `future`, `static`, `level` in, quantiles relative to the level out."""
        architecture, units = self._architecture, self.settings.units
        known = len(architecture.known) + len(architecture.shared)
        static_sizes = self._levels.codes.sizes
        context = keras.Input((architecture.context, 2 + len(architecture.past) + known), name="context")
        future = keras.Input((architecture.horizon, known + 2), name="future")
        static = keras.Input((len(static_sizes),), dtype="int32", name="static")
        level = keras.Input((1,), name="level")
        steps = layers.Reshape((-1, architecture.step * context.shape[-1]))(context)
        encoded = layers.Concatenate()([layers.LSTM(units)(steps), level, *_embedded(static, static_sizes)])
        encoded = layers.Dense(units)(layers.Dropout(self.settings.dropout)(encoded))
        decoded = layers.Dense(units)(future) + layers.Reshape((1, units))(encoded)
        decoded = layers.Activation("relu")(_LeadShift()(decoded))
        decoded = layers.Dense(units, activation="relu")(layers.Dropout(self.settings.dropout)(decoded))
        quantiles = _ordered(layers.Dense(len(QUANTILES))(decoded))
        inputs = {"context": context, "future": future, "static": static, "level": level}
        return keras.Model(inputs, quantiles)


class _LeadShift(layers.Layer):
    """Adds a learnt vector to each lead: `[B, H, U]` -> `[B, H, U]`."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.shift = self.add_weight(shape=input_shape[1:], initializer="zeros", name="shift")

    def call(self, decoded: Any) -> Any:  # noqa: ANN401 - a tensor of any back end
        return decoded + self.shift


def _embedded(static: Any, sizes: tuple[int, ...]) -> list[Any]:  # noqa: ANN401 - a tensor of any back end
    """Return the embedding of each static attribute, each `[B, E]`."""
    return [
        layers.Embedding(size, min(_WIDEST_EMBEDDING, 2 + math.isqrt(size)))(static[:, position])
        for position, size in enumerate(sizes)
    ]


def _ordered(outputs: Any) -> Any:  # noqa: ANN401 - a tensor of any back end
    """Return quantiles that rise from the first, which is free, by positive increments `[B, H, Q]`.

    The first may fall below zero, where the loss still pulls it up; forecasts are cut at zero.
    """
    increments = ops.softplus(outputs[..., 1:] - _INCREMENT_SHIFT)
    return ops.cumsum(ops.concatenate([outputs[..., :1], increments], axis=-1), axis=-1)


def _chunks(size: int) -> Iterator[slice]:
    for start in range(0, size, _PREDICTED_AT_ONCE):
        yield slice(start, start + _PREDICTED_AT_ONCE)


def _mean(quantiles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean of the distribution with these quantiles, straight between them and exponential beyond the last.

    Args:
        quantiles: at the levels `QUANTILES` `[S, H, Q]`.
    """
    between = np.trapezoid(quantiles, QUANTILES, axis=-1)
    lowest, highest = QUANTILES[0], 1 - QUANTILES[-1]
    decay = (quantiles[..., -1] - quantiles[..., -2]) / math.log((1 - QUANTILES[-2]) / highest)
    return between + lowest * quantiles[..., 0] + highest * (quantiles[..., -1] + decay)
