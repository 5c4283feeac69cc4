"""What every stage hands back: a small, plain report for the person watching and for the next task."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

__all__ = ["StageReport"]


@dataclass(frozen=True)
class StageReport:
    """Names, versions and counts of what a stage did; never data."""

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {key: str(value) if isinstance(value, date) else value for key, value in asdict(self).items()}
