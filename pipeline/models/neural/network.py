"""What all networks share: what they see, how they learn, resume and start warm, and how they are kept."""

import json
import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from pipeline.candidates.neural import NeuralSettings
from pipeline.models.base import QUANTILES, Forecaster, Progress
from pipeline.models.counts import CountSpread
from pipeline.models.levels import Levels
from pipeline.models.neural import runtime
from pipeline.models.neural.blocks import attributes, ordered
from pipeline.models.neural.checkpoints import Checkpoint, identity
from pipeline.models.neural.losses import censored_pinball
from pipeline.models.neural.runtime import Tensor
from pipeline.models.neural.sampling import Distortion, Sampler
from pipeline.models.neural.training import Course, Plan
from pipeline.models.neural.windows import OWN_FUTURE, SEEN, STATE, Standard, Windows, WindowShape, series_chunks
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["Architecture", "NeuralForecaster", "Span"]

_PREDICTED_AT_ONCE = 1024
_FINE_TUNE_RATE = 0.3
"""Highest learning rate of a network that starts from an earlier version, relative to the setting."""
_SHORT_HISTORY_SHARE = 4
"""At most a fourth of a short history is held out."""
_WEIGHTS_FILE, _STATE_FILE = "network.weights.h5", "state.json"


class Architecture(NamedTuple):
    """What of a panel decides a network's shapes."""

    horizon: int
    context: int
    """Periods that the encoder sees."""
    step: int
    """Periods that it reads at once."""
    past: tuple[str, ...]
    known: tuple[str, ...]
    shared: tuple[str, ...]
    traits: tuple[str, ...]

    @property
    def covariates(self) -> tuple[tuple[str, ...], ...]:
        """Names of the covariates of the past, those known ahead, those that all series share, and of the traits."""
        return self.past, self.known, self.shared, self.traits

    @property
    def columns(self) -> int:
        """Columns of the context: demand, whether it was observed, and all covariates."""
        return 2 + len(self.past) + len(self.known) + len(self.shared)


@dataclass(frozen=True)
class Span:
    """Which periods a network learns from and which are held out."""

    first: int
    """Earliest period with which a window may end."""
    held_out: int
    """Last period before the tail that epochs are compared by."""
    last: int

    @classmethod
    def of(cls, panel: Panel) -> Self | None:
        """Return the span of a panel, or None where its history is too short to learn from."""
        periods = panel.y.shape[1]
        tail = min(panel.horizon, periods // _SHORT_HISTORY_SHARE)
        first = min(rhythm_of(panel).warm_up, periods // 2) - 1
        held_out = periods - 1 - tail
        return cls(first, held_out, periods - 1) if tail and 0 <= first < held_out else None


class NeuralForecaster(Forecaster):
    """A network that reads a window of the past and gives all quantiles of every lead in one pass.

    It sees scaled demand, whether it was observed, the covariates of the past and those known ahead; the level, recent
    demand and static attributes of the item, but not which item it is; and for each lead its known covariates and
    demand at the same place in the season and the year. Demand is divided by the item's level at the origin, and
    forecasts are multiplied by it, so that all series are learnt from alike (as by Kim et al., Reversible Instance
    Normalization, 2022). Quantiles are a first one plus positive increments, cut at zero; they are not rounded. (Direct
    multi-horizon quantiles: Wen et al., A Multi-Horizon Quantile Recurrent Forecaster, 2017, arXiv:1711.11053.)

    A member of the family builds what lies between the inputs and the quantiles: `_decoded`.
    """

    settings: NeuralSettings
    checkpoints: Path | None = None
    """Folder where a fit keeps how far it has come; set before `fit`, and removed by the caller. The same fit, begun
    again after a kill, goes on from there to the same result."""
    _architecture: Architecture
    _levels: Levels
    _standard: Standard
    _spread: CountSpread
    _network: keras.Model
    _learnt: bool
    """Whether there was history enough to learn from."""

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Learn until a held-out tail is forecast no better, then from the tail as well.

        A history of few periods leaves the network unlearnt: forecasts are the items' levels with a count spread then.
        A warm start of the same settings, horizon and covariates lends its weights, label codes and covariate moments;
        the network then learns for few epochs, at a low rate.
        """
        runtime.prepare(self.seed)
        self._architecture = self._architecture_for(panel)
        teacher = warm_start if warm_start and self._can_learn_from(warm_start) else None
        self._levels = Levels.of(panel, rhythm_of(panel).level, teacher._levels.codes if teacher else None)  # noqa: SLF001
        self._standard = teacher._standard if teacher else Standard.of(panel)  # noqa: SLF001
        self._spread = CountSpread.unmeasured(panel.unique_id)
        lent = teacher._network.get_weights() if teacher else []  # noqa: SLF001
        with runtime.scope():
            self._network = self._built()
        if teacher:
            self._network.set_weights(lent)
        span = Span.of(panel)
        if span:
            fine_tune = teacher is not None
            self._learn(self._windows(panel), span, self._plan(fine_tune=fine_tune), progress, fine_tune=fine_tune)
        self._learnt = span is not None or teacher is not None
        return self

    def _learn(self, windows: Windows, span: Span, plan: Plan, progress: Progress | None, *, fine_tune: bool) -> None:
        """Learn from the windows before the held-out tail, then in the closing steps from all."""
        course = self._course(self._network, censored_pinball(QUANTILES), plan, windows.panel, "forecasting")
        course.run(self._sampler(windows, range(span.first, span.held_out), span.held_out), progress)
        course.close(self._sampler(windows, range(span.first, span.last), span.last))

    @abstractmethod
    def _decoded(self, context: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """Return what the network knows of each lead `[B, H, U]`, from which the quantiles are read.

        Args:
            context: the past `[B, L, F]`.
            future: what is known of each lead `[B, H, G]`.
            about: what is known of the item `[B, A]`.
        """

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
        chunks = series_chunks(size, _PREDICTED_AT_ONCE)
        outputs = [self._network(windows.inputs(series[at], origin[at]), training=False) for at in chunks]
        quantiles = np.concatenate([ops.convert_to_numpy(output) for output in outputs])[:, :horizon]
        quantiles = np.maximum(quantiles * level[..., None], 0)
        return quantiles, _mean(quantiles)

    def save(self, folder: Path) -> None:
        """Write Keras' weights, and the rest as JSON."""
        self._network.save_weights(folder / _WEIGHTS_FILE)
        state = {
            "architecture": self._architecture._asdict(),
            "levels": self._levels.as_json(),
            "standard": self._standard.moments,
            "spread": self._spread.as_json(),
            "learnt": self._learnt,
        }
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        horizon, context, step, *names = state["architecture"].values()
        self._architecture = Architecture(horizon, context, step, *(tuple(group) for group in names))
        self._levels = Levels.from_json(state["levels"])
        self._standard = Standard({name: (mean, spread) for name, (mean, spread) in state["standard"].items()})
        self._spread = CountSpread.from_json(state["spread"])
        self._learnt = state["learnt"]
        runtime.configure()
        self._network = self._built()
        self._network.load_weights(folder / _WEIGHTS_FILE)

    def _windows(self, panel: Panel) -> Windows:
        architecture = self._architecture
        found = (panel.past_names, panel.known_names, panel.shared_names, panel.trait_names)
        if found != architecture.covariates:
            fitted = architecture.covariates
            msg = f"this network was fitted with the covariates {fitted}, not {found}; fit it on such a panel"
            raise ValueError(msg)
        return Windows(panel, self._levels, self._standard, WindowShape(architecture.context, architecture.horizon))

    def _architecture_for(self, panel: Panel) -> Architecture:
        """Return what the settings and a panel ask for; the context is rounded up to whole steps."""
        rhythm = rhythm_of(panel)
        step = self.settings.periods_per_step or rhythm.step
        context = math.ceil((self.settings.context_periods or rhythm.context) / step) * step
        names = panel.past_names, panel.known_names, panel.shared_names, panel.trait_names
        return Architecture(panel.horizon, context, step, *names)

    def _can_learn_from(self, teacher: Self) -> bool:
        return teacher.settings == self.settings and teacher._architecture == self._architecture

    def _plan(self, *, fine_tune: bool) -> Plan:
        chosen = self.settings
        plan = Plan(
            epochs=chosen.epochs,
            steps_per_epoch=chosen.steps_per_epoch,
            closing_steps=chosen.closing_steps,
            patience=chosen.patience,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            averaging=chosen.averaging,
        )
        if not fine_tune:
            return plan
        return replace(plan, epochs=chosen.fine_tune_epochs, learning_rate=_FINE_TUNE_RATE * chosen.learning_rate)

    def _course(self, network: keras.Model, loss: Any, plan: Plan, panel: Panel, task: str) -> Course:  # noqa: ANN401
        """Return a course of learning, with its own checkpoint where checkpoints are kept."""
        checkpoint = None
        if self.checkpoints:
            parts = (task, self.settings.model_dump_json(), str(self.seed), panel.fingerprint(), _versions())
            checkpoint = Checkpoint(self.checkpoints / f"{task}.npz", identity(*parts, *self._network.get_weights()))
        sizes = None
        if self.settings.adversarial:
            sizes = np.full(self._architecture.columns, self.settings.adversarial, np.float32)
            sizes[SEEN] = 0  # a flag is no quantity
        return Course(network, loss, plan, checkpoint, sizes)

    def _sampler(self, windows: Windows, origins: range, last: int) -> Sampler:
        chosen = self.settings
        distortion = Distortion(
            chosen.jitter,
            chosen.scaling,
            chosen.warping,
            chosen.masking,
            self._architecture.step,
            len(self._architecture.past),
        )
        return Sampler(windows, origins, last, self._batch_size(), self.seed, distortion)

    def _batch_size(self) -> int:
        """Return the batch's size, rounded up so that all devices get equal shares."""
        return math.ceil(self.settings.batch_size / runtime.replicas()) * runtime.replicas()

    def _built(self) -> keras.Model:
        """Return the network: `context`, `future`, `static`, `state` in, quantiles relative to the level out."""
        inputs = self._inputs()
        return self._forecasting(inputs, self._decoded(inputs["context"], inputs["future"], self._about(inputs)))

    def _about(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return what is known of the item `[B, A]`."""
        return layers.Concatenate()([inputs["state"], *attributes(inputs["static"], self._levels.codes.sizes)])

    @staticmethod
    def _forecasting(inputs: dict[str, Tensor], decoded: Tensor) -> keras.Model:
        return keras.Model(inputs, ordered(decoded, len(QUANTILES)))

    def _inputs(self) -> dict[str, Tensor]:
        architecture = self._architecture
        known = len(architecture.known) + len(architecture.shared)
        return {
            "context": keras.Input((architecture.context, architecture.columns), name="context"),
            "future": keras.Input((architecture.horizon, known + OWN_FUTURE), name="future"),
            "static": keras.Input((len(self._levels.codes.sizes),), dtype="int32", name="static"),
            "state": keras.Input((STATE + len(architecture.traits),), name="state"),
        }


def _versions() -> str:
    return f"{keras.config.backend()} {keras.__version__}"


def _mean(quantiles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean of the distribution with these quantiles, straight between them and exponential beyond the last.

    Args:
        quantiles: at the levels `QUANTILES` `[S, H, Q]`.
    """
    between = np.trapezoid(quantiles, QUANTILES, axis=-1)
    lowest, highest = QUANTILES[0], 1 - QUANTILES[-1]
    decay = (quantiles[..., -1] - quantiles[..., -2]) / math.log((1 - QUANTILES[-2]) / highest)
    return between + lowest * quantiles[..., 0] + highest * (quantiles[..., -1] + decay)
