"""Patch Transformer, first trained without any forecast: it fills in hidden patches of all series."""

from dataclasses import replace
from typing import Any, ClassVar

import keras
from keras import layers

from pipeline.candidates.neural import PatchTransformerSettings
from pipeline.models.base import Progress
from pipeline.models.neural.blocks import LeadShift, attended, in_steps, lead_by_lead, thought_over
from pipeline.models.neural.losses import masked_error
from pipeline.models.neural.network import NeuralForecaster, Span
from pipeline.models.neural.runtime import Tensor
from pipeline.models.neural.sampling import Hiding
from pipeline.models.neural.training import Plan
from pipeline.models.neural.windows import Windows

__all__ = ["PatchTransformer"]


class PatchTransformer(NeuralForecaster):
    """Patches of the past attend to each other; each lead attends to them.

    Before it learns to forecast, the encoder learns to fill in patches of demand that were hidden from it, given their
    covariates: so it learns from all series what demand is like, without any target. A network that starts from an
    earlier version has done so already. (Nie et al., A Time Series is Worth 64 Words, 2023, arXiv:2211.14730.)
    """

    name: ClassVar[str] = "patch_transformer"
    settings: PatchTransformerSettings
    _filler: keras.Model
    """The encoder with a head that fills in demand."""

    def _learn(self, windows: Windows, span: Span, plan: Plan, progress: Progress | None, *, fine_tune: bool) -> None:
        epochs = 0 if fine_tune else self.settings.pretraining_epochs
        steps = epochs + plan.epochs
        if epochs:
            self._pretrain(windows, span, replace(plan, epochs=epochs), _told_of(progress, 0, steps, "filling_"))
        super()._learn(windows, span, plan, _told_of(progress, epochs, steps, ""), fine_tune=fine_tune)

    def _pretrain(self, windows: Windows, span: Span, plan: Plan, progress: Progress | None) -> None:
        origins = range(span.first, span.held_out + 1)
        hiding = Hiding(
            windows, origins, self._batch_size(), self.seed, self.settings.hidden_share, self._architecture.step
        )
        self._course(self._filler, masked_error, plan, windows.panel, "filling").run(hiding, progress)

    def _built(self) -> keras.Model:
        inputs = self._inputs()
        about = self._about(inputs)
        tokens = self._tokens(inputs["context"], about)
        filled = layers.Reshape((-1,))(layers.Dense(self._architecture.step, dtype="float32")(tokens))
        self._filler = keras.Model({name: inputs[name] for name in Hiding.INPUTS}, filled)
        return self._forecasting(inputs, self._leads(tokens, inputs["future"], about))

    def _decoded(self, context: Tensor, future: Tensor, about: Tensor) -> Tensor:
        return self._leads(self._tokens(context, about), future, about)

    def _tokens(self, context: Tensor, about: Tensor) -> Tensor:
        """Return what the patches of the past mean, one token each `[B, N, U]`."""
        chosen = self.settings
        tokens = layers.Dense(chosen.units)(in_steps(context, self._architecture.step))
        tokens = LeadShift()(tokens + layers.Reshape((1, chosen.units))(layers.Dense(chosen.units)(about)))
        for _ in range(chosen.layers):
            tokens = thought_over(attended(tokens, chosen.heads, chosen.dropout), chosen.dropout)
        return layers.LayerNormalization()(tokens)

    def _leads(self, tokens: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """Return what each lead takes from the tokens and from its known future `[B, H, U]`."""
        chosen = self.settings
        leads = layers.Dense(chosen.units)(future)
        leads = LeadShift()(leads + layers.Reshape((1, chosen.units))(layers.Dense(chosen.units)(about)))
        leads = attended(leads, chosen.heads, chosen.dropout, tokens)
        return lead_by_lead(future, leads, chosen.units, chosen.dropout)


def _told_of(progress: Progress | None, before: int, steps: int, prefix: str) -> Progress | None:
    """Return what tells of one part of a longer course, so many steps having gone before."""
    if progress is None:
        return None

    def tell(step: int, _steps: int, metrics: Any) -> None:  # noqa: ANN401
        progress(before + step, steps, {prefix + name: value for name, value in metrics.items()})

    return tell
