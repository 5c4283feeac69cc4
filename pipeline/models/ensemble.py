"""Ensemble: members' quantiles averaged with weights that their past forecasts have earned."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline import models
from pipeline.candidates import EnsembleSettings
from pipeline.models.base import QUANTILES, Forecast, Forecaster, Progress
from pipeline.models.past import PastForecasts
from pipeline.models.rhythm import rhythm_of
from pipeline.preprocess.panel import Panel

__all__ = ["Ensemble", "averaged", "averaged_forward", "greedy_weights"]

_MOST_ROWS = 200_000
"""Rows of past forecasts that weights are taken from at most."""
_WEIGHTS_FILE = "weights.json"


class Ensemble(Forecaster):
    """Averages the quantiles of its members (Vincent averaging), each weighed by greedy selection.

    Selection starts from nothing and adds again and again the member with which the average's quantile loss on past
    forecasts is lowest. (Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble Selection from Libraries of Models, ICML
    2004; averaging quantiles: Lichtendahl, Grushka-Cockayne and Winkler, Is It Better to Average Probabilities or
    Quantiles?, Management Science 59(7), 2013.)
    """

    name: ClassVar[str] = "ensemble"
    settings: EnsembleSettings
    _members: dict[str, Forecaster]
    _weights: dict[str, float]

    @classmethod
    def of(
        cls, settings: EnsembleSettings, seed: int, members: Mapping[str, Forecaster], weights: Mapping[str, float]
    ) -> Self:
        """Return the ensemble of fitted members with given weights; members without any weight are left behind."""
        ensemble = cls(settings, seed)
        ensemble._weights = {name: weight for name, weight in weights.items() if weight > 0}
        ensemble._members = {name: members[name] for name in ensemble._weights}
        return ensemble

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each member that has any; they add up to 1."""
        return self._weights

    def fit(self, panel: Panel, *, warm_start: Self | None = None, progress: Progress | None = None) -> Self:
        """Fit the members on the history before a held-out tail, weigh them by it, and fit those with weight on all.

        The tail is one horizon, or what of it leaves the members history to learn from; without any, all weigh alike.
        """
        del warm_start
        weights = self._tail_weights(panel)
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}
        self._members = {}
        for step, name in enumerate(self._weights, start=1):
            self._members[name] = self._built(name).fit(panel)
            if progress is not None:
                progress(step, len(self._weights), {f"weight_{name}": self._weights[name]})
        return self

    def _tail_weights(self, panel: Panel) -> dict[str, float]:
        names = list(self.settings.members)
        tail = min(panel.horizon, panel.y.shape[1] - rhythm_of(panel).warm_up)
        if tail < 1 or len(names) == 1:
            return dict.fromkeys(names, 1 / len(names))
        origin = panel.last_day - timedelta(days=tail * panel.period_days)
        before = panel.until(origin)
        past = [PastForecasts.of(self._built(name).fit(before), panel, [origin]) for name in names]
        return dict(zip(names, greedy_weights(past, self.settings.picks).tolist(), strict=True))

    def _built(self, name: str) -> Forecaster:
        return models.build(self.settings.members[name], self.seed)

    def predict(self, panel: Panel, origin: date, horizon: int) -> Forecast:
        """Average what the members forecast."""
        return averaged([member.predict(panel, origin, horizon) for member in self._members.values()], self._shares)

    def _predict(self, panel: Panel, horizon: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        forecast = self.predict(panel, panel.last_day, horizon)
        return forecast.quantiles, forecast.mean

    @property
    def _shares(self) -> NDArray[np.float64]:
        return np.array(list(self._weights.values()))

    def save(self, folder: Path) -> None:
        """Write each member into a folder of its own, and the weights as JSON."""
        for name, member in self._members.items():
            models.save(member, folder / "members" / name)
        (folder / _WEIGHTS_FILE).write_text(json.dumps(self._weights), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        self._weights = json.loads((folder / _WEIGHTS_FILE).read_text(encoding="utf-8"))
        self._members = {name: models.load(folder / "members" / name) for name in self._weights}


def greedy_weights(past: Sequence[PastForecasts], picks: int) -> NDArray[np.float64]:
    """Return the members' weights `[M]` by greedy selection; equal ones where nothing has come yet.

    Args:
        past: each member's forecasts from the same origins for the same series.
        picks: how many members are picked, with repeats.
    """
    size = len(past)
    came = np.flatnonzero(np.isfinite(past[0].y))
    if not len(came):
        return np.full(size, 1 / size)
    came = came[:: -(-len(came) // _MOST_ROWS)]
    y = past[0].y.reshape(-1)[came, None]
    members = np.stack([one.quantiles.reshape(-1, len(QUANTILES))[came] for one in past])
    total = np.zeros_like(members[0])
    counts = np.zeros(size, np.intp)
    for pick in range(1, picks + 1):
        losses = [_pinball(y, (total + member) / pick) for member in members]
        best = int(np.argmin(losses))
        total += members[best]
        counts[best] += 1
    return counts / picks


def averaged(forecasts: Sequence[Forecast], weights: NDArray[np.floating]) -> Forecast:
    """Return the weighted average of forecasts of the same series from the same origin, quantile by quantile."""
    first = forecasts[0]
    share = weights.astype(np.float64)
    quantiles = sum(weight * one.quantiles for weight, one in zip(share, forecasts, strict=True))
    mean = sum(weight * one.mean for weight, one in zip(share, forecasts, strict=True))
    return Forecast(
        first.unique_id,
        first.origin,
        np.asarray(quantiles, np.float32),
        np.asarray(mean, np.float32),
        first.frequency,
    )


def averaged_forward(past: Sequence[PastForecasts], panel: Panel, picks: int) -> list[Forecast]:
    """Return the ensemble's forecast of each origin, its weights taken from what was known on that origin.

    On the first origin nothing is known, and all members weigh alike.
    """
    forecasts = []
    for position in range(len(past[0].origins)):
        weights = greedy_weights([one.known_at(position) for one in past], picks)
        forecasts.append(averaged([one.forecast(position, panel) for one in past], weights))
    return forecasts


def _pinball(y: NDArray[np.floating], quantiles: NDArray[np.floating]) -> float:
    """Return the pinball loss summed over rows and levels."""
    error = y - quantiles
    level = np.asarray(QUANTILES, error.dtype)
    return float(np.maximum(level * error, (level - 1) * error).sum(dtype=np.float64))
