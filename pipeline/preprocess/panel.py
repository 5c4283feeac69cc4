"""Panel: all series of a cycle as dense, immutable arrays, ending on one day."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Panel"]


@dataclass(frozen=True)
class Panel:
    """What a forecaster may see: history up to and including the last day, and the known future after it.

    S series, T history days, H days of known future, P past covariates, K known covariates of a series, Kc known
    covariates that all series share, C static attributes.
    """

    unique_id: NDArray[np.str_]
    """Series' ids, sorted `[S]`."""
    start: date
    """First day of the history."""
    y: NDArray[np.float32]
    """Units demanded; 0 where not observed, so that sums stay finite `[S, T]`."""
    observed: NDArray[np.bool_]
    """False before launch and where the day is unknown `[S, T]`."""
    past: NDArray[np.float32]
    """Covariates known only after the day `[S, T, P]`."""
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
    horizon: int
    """H: how many days of known future follow the history."""

    def __post_init__(self) -> None:
        """Check that all shapes agree and make the arrays read-only."""
        s, t = self.y.shape
        expected = {
            "unique_id": (s,),
            "observed": (s, t),
            "past": (s, t, len(self.past_names)),
            "known": (s, t + self.horizon, len(self.known_names)),
            "shared": (t + self.horizon, len(self.shared_names)),
            "static": (s, len(self.static_names)),
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
    def days(self) -> NDArray[np.datetime64]:
        """History days `[T]`."""
        return np.datetime64(self.start, "D") + np.arange(self.y.shape[1])

    @property
    def last_day(self) -> date:
        """The last day of the history: the origin of a forecast made from this panel."""
        return self.days[-1].item()

    def until(self, day: date) -> "Panel":
        """Return the panel as it stood on an earlier day; nothing of it reaches beyond that day's known future.

        Raises:
            ValueError: if the day is not one of the history.
        """
        t = (day - self.start).days + 1
        if not 1 <= t <= self.y.shape[1]:
            msg = f"{day} is not a day of this panel, which runs from {self.start} to {self.last_day}"
            raise ValueError(msg)
        ahead = t + self.horizon
        return replace(
            self,
            y=self.y[:, :t],
            observed=self.observed[:, :t],
            past=self.past[:, :t],
            known=self.known[:, :ahead],
            shared=self.shared[:ahead],
        )

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> "Panel":
        """Return the panel of some of its series, by position."""
        index = np.asarray(rows)
        by_series = ("unique_id", "y", "observed", "past", "known", "static")
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
            past_names=tuple(meta["past_names"]),
            known_names=tuple(meta["known_names"]),
            shared_names=tuple(meta["shared_names"]),
            static_names=tuple(meta["static_names"]),
            static_levels=tuple(tuple(levels) for levels in meta["static_levels"]),
            **arrays,
        )

    def _meta(self) -> dict[str, object]:
        names = {field.name for field in fields(self)} - set(self._array_names()) - {"start"}
        return {"start": str(self.start)} | {name: getattr(self, name) for name in names}

    @staticmethod
    def _array_names() -> tuple[str, ...]:
        return ("unique_id", "y", "observed", "past", "known", "shared", "static")
