"""A dense network on the feature table: it sees what the trees see, and bends where they step."""

from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from pipeline.candidates import PerceptronSettings
from pipeline.models.base import QUANTILES, Progress
from pipeline.models.neural import runtime
from pipeline.models.tabular.features import FeatureTable
from pipeline.models.tabular.forecaster import Tabular, Units
from pipeline.models.tabular.rows import Sample

__all__ = ["Perceptron"]

_WEIGHTS_FILE, _SCALES_FILE = "network.weights.h5", "scales.npz"
_MIDDLE = QUANTILES.index(0.5)
_CUT = 0.005
"""Share of a feature's values at either end that is cut off."""
_OFTEN_MISSING = 0.02
"""A feature that is missing in a greater share of the rows has a column of its own to say so."""
_INCREMENT_SHIFT = 1.5
"""Taken off before softplus, so that an unlearnt network's quantiles lie close together."""
_MOST_WEIGHT, _MOST_RATIO = 25.0, 50.0
_CODE_WIDTH = 4
_AVERAGING = 0.99
_WARM_UP_SHARE = 0.1
_LAST_RATE = 0.02
_PREDICTED_AT_ONCE = 65_536


class Perceptron(Tabular):
    """A residual network of dense layers with one output a quantile and one for the mean, all learnt together.

    Outputs are relative to what one expects of the row, on a logarithmic or square-root scale as for the trees; the
    quantiles are the median plus and minus positive steps, so that they never cross. What forecasts is the moving
    average of the weights. (Residual layers: He et al., Deep Residual Learning, CVPR 2016; networks beside trees on
    tables: Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021.)
    """

    name: ClassVar[str] = "perceptron"
    settings: PerceptronSettings
    _scales: dict[str, NDArray[np.float64]]
    _network: keras.Model

    def _learn(self, sample: Sample, table: FeatureTable, progress: Progress | None) -> None:
        runtime.prepare(self.seed)
        self._scales = _scales_of(sample.features, [table.names.index(name) for name in table.categorical])
        self._network = self._built()
        inputs = self._inputs(sample.features)
        ratio = np.minimum(sample.y / sample.base, _MOST_RATIO)
        weight = np.minimum(sample.base / sample.base.mean(), _MOST_WEIGHT)
        targets = np.stack([ratio, weight], axis=-1).astype(np.float32)
        size = min(self.settings.batch_size, len(sample))
        steps = len(sample) // size
        self._compile(steps * self.settings.epochs)
        for epoch in range(self.settings.epochs):
            order = np.random.default_rng((self.seed, epoch)).permutation(len(sample))
            losses = []
            for step in range(steps):
                rows = order[step * size : (step + 1) * size]
                self._network.reset_metrics()
                losses.append(self._network.train_on_batch([part[rows] for part in inputs], targets[rows]))
            if progress is not None:
                progress(epoch + 1, self.settings.epochs, {"loss": float(np.mean(losses))})
        optimizer = self._network.optimizer
        optimizer.finalize_variable_values(self._network.trainable_variables)

    def _units(self, features: NDArray[np.float32], base: NDArray[np.floating]) -> Units:
        inputs = self._inputs(features)
        found = np.concatenate(
            [
                ops.convert_to_numpy(
                    self._network([part[at : at + _PREDICTED_AT_ONCE] for part in inputs], training=False)
                )
                for at in range(0, len(features), _PREDICTED_AT_ONCE)
            ]
        )
        return found[:, :-1] * base[:, None], found[:, -1] * base

    def _built(self) -> keras.Model:
        width, drop = self.settings.width, self.settings.dropout
        numbers = keras.Input((len(self._scales["columns"]) + len(self._scales["often_missing"]),))
        codes = keras.Input((len(self._scales["codes"]),), dtype="int32")
        parts = [numbers]
        for position, size in enumerate(self._scales["sizes"].astype(int)):
            parts.append(layers.Embedding(int(size), _CODE_WIDTH)(codes[:, position]))
        hidden = layers.Dense(width, activation="gelu")(layers.Concatenate()(parts) if len(parts) > 1 else numbers)
        hidden = layers.Dropout(drop)(hidden)
        for _ in range(self.settings.layers - 1):
            further = layers.Dropout(drop)(layers.Dense(width, activation="gelu")(hidden))
            hidden = layers.Add()([hidden, further])
        output = _Spread(logarithmic=self._planned)(
            layers.Dense(len(QUANTILES) + 1, kernel_initializer="zeros")(hidden)
        )
        return keras.Model([numbers, codes], output)

    def _compile(self, steps: int) -> None:
        warm_up = max(int(steps * _WARM_UP_SHARE), 1)
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(steps - warm_up, 1),
            alpha=_LAST_RATE,
            warmup_target=self.settings.learning_rate,
            warmup_steps=warm_up,
        )
        optimizer = keras.optimizers.AdamW(
            schedule,
            weight_decay=self.settings.weight_decay,
            clipnorm=1.0,
            use_ema=True,
            ema_momentum=min(_AVERAGING, 1 - 1 / (1 + steps)),
        )
        self._network.compile(optimizer, loss=_loss, jit_compile=False)

    def _inputs(self, features: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the scaled numbers with marks of what is missing, and the codes, unknown ones being 0."""
        scales = self._scales
        columns, codes = scales["columns"].astype(np.intp), scales["codes"].astype(np.intp)
        values = features[:, columns].astype(np.float64)
        scaled = (_squashed(values, scales) - scales["mean"]) / scales["spread"]
        marks = np.isnan(values[:, scales["often_missing"].astype(np.intp)])
        coded = features[:, codes].astype(np.int32)
        known = np.where((coded >= 0) & (coded < scales["sizes"].astype(int)), coded, 0)
        return [np.concatenate([np.nan_to_num(scaled), marks], axis=1).astype(np.float32), known]

    def _save_model(self, folder: Path) -> None:
        self._network.save_weights(folder / _WEIGHTS_FILE)
        np.savez(folder / _SCALES_FILE, allow_pickle=False, **self._scales)

    def _load_model(self, folder: Path) -> None:
        with np.load(folder / _SCALES_FILE, allow_pickle=False) as arrays:
            self._scales = {name: arrays[name] for name in arrays.files}
        runtime.prepare(self.seed)
        self._network = self._built()
        self._network.load_weights(folder / _WEIGHTS_FILE)


@keras.saving.register_keras_serializable("trendmill")
class _Spread(layers.Layer):
    """Turns a median, steps and a mean `[B, Q + 1]` into ordered ratios `[B, Q + 1]`, the mean last.

    Args:
        logarithmic: whether they come as logarithms, or as square roots less 1.
    """

    def __init__(self, *, logarithmic: bool, **rest: Any) -> None:  # noqa: ANN401 - Keras' own
        super().__init__(**rest)
        self.logarithmic = logarithmic

    def call(self, values: Any) -> Any:  # noqa: ANN401 - a tensor of whichever back end Keras runs on
        middle = values[:, _MIDDLE : _MIDDLE + 1]
        up = ops.cumsum(ops.softplus(values[:, _MIDDLE + 1 : len(QUANTILES)] - _INCREMENT_SHIFT), axis=1)
        down = ops.flip(ops.cumsum(ops.softplus(ops.flip(values[:, :_MIDDLE], 1) - _INCREMENT_SHIFT), axis=1), 1)
        scale = ops.concatenate([middle - down, middle, middle + up, values[:, len(QUANTILES) :]], axis=1)
        if self.logarithmic:
            return ops.exp(ops.minimum(scale, np.log(_MOST_RATIO)))
        return ops.square(ops.maximum(scale + 1, 0))


def _loss(target: Any, output: Any) -> Any:  # noqa: ANN401 - tensors
    """Return the pinball loss of the quantiles and the Poisson deviance of the mean, weighted by row.

    `target` `[B, 2]` holds ratio and weight.
    """
    value, weight = target[:, :1], target[:, 1]
    level = ops.convert_to_tensor(np.asarray(QUANTILES, np.float32))
    error = value - output[:, :-1]
    pinball = ops.mean(ops.maximum(level * error, (level - 1) * error), axis=1)
    mean = output[:, -1:] + 1e-3
    deviance = ops.mean(mean - value * ops.log(mean), axis=1)
    return ops.mean((pinball + 0.1 * deviance) * weight)


def _scales_of(features: NDArray[np.float32], codes: list[int]) -> dict[str, NDArray[np.float64]]:
    """Return how each feature is cut, centred and scaled, which are often missing, and how many codes there are."""
    columns = np.array([column for column in range(features.shape[1]) if column not in codes], np.intp)
    values = features[:, columns].astype(np.float64)
    present = np.isfinite(values).any(axis=0)
    low, high = np.zeros(len(columns)), np.zeros(len(columns))
    low[present], high[present] = np.nanquantile(values[:, present], [_CUT, 1 - _CUT], axis=0)
    scales = {"columns": columns.astype(np.float64), "codes": np.asarray(codes, np.float64), "low": low, "high": high}
    squashed = _squashed(values, scales)
    mean, spread = np.zeros(len(columns)), np.zeros(len(columns))
    mean[present] = np.nanmean(squashed[:, present], axis=0)
    spread[present] = np.nanstd(squashed[:, present], axis=0)
    sizes = features[:, codes].max(axis=0) + 1 if codes else np.zeros(0)
    return scales | {
        "mean": mean,
        "spread": spread + 1e-3,
        "often_missing": np.flatnonzero(np.isnan(values).mean(axis=0) > _OFTEN_MISSING).astype(np.float64),
        "sizes": np.maximum(sizes, 1).astype(np.float64),
    }


def _squashed(values: NDArray[np.float64], scales: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return values cut to their usual range, on a logarithmic scale to both sides of 0."""
    cut = np.clip(values, scales["low"], scales["high"])
    return np.sign(cut) * np.log1p(np.abs(cut))
