"""Checkpoints: how far a fit has come, written after each epoch, so that a killed one goes on from there."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Checkpoint", "Standing", "identity"]

Values = list[NDArray[np.generic]]
"""The values of all variables of a network and its optimizer, in their order."""


@dataclass
class Standing:
    """Where a course of learning stands at the end of an epoch."""

    values: Values
    best_values: Values
    """Those of the epoch with the lowest held-out loss."""
    best: float = float("inf")
    waited: int = 0
    """Epochs since the best one."""
    curve: list[tuple[float, float]] = field(default_factory=list)
    """Loss and held-out loss of each epoch so far."""


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds where one course of learning stands."""

    file: Path
    identity: str
    """Digest of all that decides the course's result: a file with another one is of another course."""

    def write(self, standing: Standing) -> None:
        """Replace the file in one step, so that a kill leaves the old or the new one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"now_{i}": values for i, values in enumerate(standing.values)}
        arrays |= {f"best_{i}": values for i, values in enumerate(standing.best_values)}
        record = {
            "identity": self.identity,
            "best": standing.best,
            "waited": standing.waited,
            "curve": standing.curve,
        }
        unfinished = self.file.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.savez(stream, allow_pickle=False, record=np.array(json.dumps(record)), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.file)

    def read(self) -> Standing | None:
        """Return where the same course stood, or None where the file is not there or is of another one."""
        if not self.file.exists():
            return None
        with np.load(self.file, allow_pickle=False) as content:
            record = json.loads(str(content["record"]))
            if record["identity"] != self.identity:
                return None
            now, best = ([content[name] for name in _numbered(content.files, kind)] for kind in ("now", "best"))
        curve = [(loss, held_out) for loss, held_out in record["curve"]]
        return Standing(now, best, record["best"], record["waited"], curve)


def identity(*parts: str | NDArray[np.generic]) -> str:
    """Return a digest of texts and arrays."""
    digest = sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
        digest.update(b"\0")
    return digest.hexdigest()


def _numbered(names: Sequence[str], kind: str) -> list[str]:
    return sorted((name for name in names if name.startswith(f"{kind}_")), key=lambda name: int(name.split("_")[1]))
