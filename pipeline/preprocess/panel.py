"""Panel: all series of a cycle as dense, immutable arrays, ending on one day."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEVER", "Panel"]

NEVER = np.iinfo(np.int32).max
"""In `Panel.ends`: the series is sold on."""


@dataclass(frozen=True)
class Panel:
    """What a forecaster may see: history up to and including the last day, and the known future after it.

    Its axis counts periods of the frequency: days, or weeks from Monday to Sunday. S series, T periods of history, H
    periods of known future, P past covariates, K known covariates of a series, Kc known covariates that all series
    share, C static attributes, D traits. Nothing in it is NaN.
    """

    unique_id: NDArray[np.str_]
    """Series' ids, sorted `[S]`."""
    start: date
    """First day of the history: of a weekly panel, a Monday."""
    y: NDArray[np.float32]
    """Units demanded in the period; 0 where not observed, so that sums stay finite `[S, T]`."""
    observed: NDArray[np.bool_]
    """False before launch, after the end, out of stock, and where the period is unknown `[S, T]`."""
    at_least: NDArray[np.float32]
    """Units sold while a series was out of stock: demand was at least as much; 0 in all other periods `[S, T]`."""
    available: NDArray[np.float32]
    """Share of the period for which the series could be bought; 1 where no stock feed tells `[S, T]`."""
    ends: NDArray[np.int32]
    """Position of the first period in which the series is sold no more, or `NEVER` `[S]`."""
    past: NDArray[np.float32]
    """Covariates known only after the period `[S, T, P]`."""
    past_names: tuple[str, ...]
    known: NDArray[np.float32]
    """Covariates of a series known ahead `[S, T + H, K]`."""
    known_names: tuple[str, ...]
    shared: NDArray[np.float32]
    """Covariates of the market known ahead `[T + H, Kc]`."""
    shared_names: tuple[str, ...]
    static: NDArray[np.int32]
    """Codes into `static_levels` `[S, C]`."""
    static_names: tuple[str, ...]
    static_levels: tuple[tuple[str, ...], ...]
    """The labels behind the codes, one tuple an attribute."""
    traits: NDArray[np.float32]
    """Static numbers, such as the vectors of titles `[S, D]`."""
    trait_names: tuple[str, ...]
    horizon: int
    """H: how many periods of known future follow the history."""
    frequency: Literal["D", "W"] = "D"
    """Whether a period is a day or a week."""

    def __post_init__(self) -> None:
        """Check that all shapes agree and make the arrays read-only."""
        s, t = self.y.shape
        expected = {
            "unique_id": (s,),
            "observed": (s, t),
            "at_least": (s, t),
            "available": (s, t),
            "ends": (s,),
            "past": (s, t, len(self.past_names)),
            "known": (s, t + self.horizon, len(self.known_names)),
            "shared": (t + self.horizon, len(self.shared_names)),
            "static": (s, len(self.static_names)),
            "traits": (s, len(self.trait_names)),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                msg = f"Panel.{name} has shape {found}, but the other arrays ask for {shape}"
                raise ValueError(msg)
        for name in (*expected, "y"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @property
    def period_days(self) -> int:
        """How many days a period has: 1 or 7."""
        return 7 if self.frequency == "W" else 1

    @property
    def season(self) -> int:
        """After how many periods demand repeats: 7 days, or 52 weeks."""
        return 52 if self.frequency == "W" else 7

    @property
    def days(self) -> NDArray[np.datetime64]:
        """First day of each period of the history: of a day, the day itself `[T]`."""
        return np.datetime64(self.start, "D") + self.period_days * np.arange(self.y.shape[1])

    @property
    def last_day(self) -> date:
        """The last day of the history, a week's Sunday: the origin of a forecast made from this panel."""
        return (self.days[-1] + self.period_days - 1).item()

    def periods_until(self, day: date) -> int:
        """Return how many periods of the history are over on a day.

        Raises:
            ValueError: if no period of the history ends on that day.
        """
        periods, rest = divmod((day - self.start).days + 1, self.period_days)
        if rest or not 1 <= periods <= self.y.shape[1]:
            kind = "day" if self.frequency == "D" else "Sunday"
            msg = f"{day} is not a {kind} of this panel, which runs from {self.start} to {self.last_day}"
            raise ValueError(msg)
        return periods

    def until(self, day: date) -> "Panel":
        """Return the panel as it stood on an earlier day; nothing of it reaches beyond that day's known future.

        Raises:
            ValueError: if no period of the history ends on that day.
        """
        t = self.periods_until(day)
        ahead = t + self.horizon
        return replace(
            self,
            y=self.y[:, :t],
            observed=self.observed[:, :t],
            at_least=self.at_least[:, :t],
            available=self.available[:, :t],
            past=self.past[:, :t],
            known=self.known[:, :ahead],
            shared=self.shared[:ahead],
        )

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> "Panel":
        """Return the panel of some of its series, by position."""
        index = np.asarray(rows)
        by_series = ("unique_id", "y", "observed", "at_least", "available", "ends", "past", "known", "static", "traits")
        return replace(self, **{name: getattr(self, name)[index] for name in by_series})

    def fingerprint(self) -> str:
        """Return a digest of the whole content: equal panels, equal fingerprints."""
        digest = hashlib.sha256(json.dumps(self._meta(), sort_keys=True).encode())
        for name in self._array_names():
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the panel as one `.npy` an array, which `load` maps into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._array_names():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(self, name)), allow_pickle=False)
        (folder / "panel.json").write_text(json.dumps(self._meta(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Panel":
        """Map a saved panel into memory.

        Raises:
            FileNotFoundError: if the folder holds no panel.
        """
        meta = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in cls._array_names()
        }
        return cls(
            start=date.fromisoformat(meta["start"]),
            horizon=meta["horizon"],
            frequency=meta["frequency"],
            past_names=tuple(meta["past_names"]),
            known_names=tuple(meta["known_names"]),
            shared_names=tuple(meta["shared_names"]),
            static_names=tuple(meta["static_names"]),
            static_levels=tuple(tuple(levels) for levels in meta["static_levels"]),
            trait_names=tuple(meta["trait_names"]),
            **arrays,
        )

    def _meta(self) -> dict[str, object]:
        names = {field.name for field in fields(self)} - set(self._array_names()) - {"start"}
        return {"start": str(self.start)} | {name: getattr(self, name) for name in names}

    @staticmethod
    def _array_names() -> tuple[str, ...]:
        return (
            "unique_id",
            "y",
            "observed",
            "at_least",
            "available",
            "ends",
            "past",
            "known",
            "shared",
            "static",
            "traits",
        )
