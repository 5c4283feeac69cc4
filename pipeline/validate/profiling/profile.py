"""What a profile says of a feed's source and of each of its columns."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pipeline.feeds import FeedName, Grain

__all__ = ["FEW_VALUES", "QUANTILES", "ColumnProfile", "FeedProfile"]

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)

FEW_VALUES = 20
"""A text column with no more different values than this is told whole."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a column holds; of a personal column only how much."""

    name: str
    kind: str
    """The column's type in the feed's contract."""
    role: str
    """What the column is to a model, or `key`, or `personal`."""
    required: bool
    rows: int
    nulls: int
    """Rows without a value, or with one that cannot be read."""
    distinct: int
    minimum: Any = None
    maximum: Any = None
    quantiles: tuple[Any, ...] = ()
    """The values at `QUANTILES`, of numbers and days."""
    examples: tuple[str, ...] = ()
    """The most frequent values."""
    known_values: tuple[str, ...] = ()
    """All values, sorted, of a text column that has few of them."""
    negative: int = 0
    """Rows with a number below 0."""
    not_finite: int = 0
    """Rows with NaN or an infinity."""
    spellings: int = 0
    """How many values differ from another one in upper and lower case or outer blanks alone."""

    @property
    def null_share(self) -> float:
        """The share of rows without a value."""
        return self.nulls / self.rows


@dataclass(frozen=True)
class FeedProfile:
    """What a feed's source holds as of a day."""

    market: str
    feed: FeedName
    grain: Grain
    as_of: date
    rows: int
    repeated_rows: int
    """Rows that say word for word what another one has said."""
    repeated_keys: int
    """Rows that share their key with another one but say something else."""
    later_rows: int
    """Rows about days after the as-of day, which are left out; plans are not among them."""
    latest: date | None
    """The latest day that any row is about."""
    days_without_rows: int
    """Days between the first and the last that no row is about."""
    columns: tuple[ColumnProfile, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; days are written as text, and so is what is no finite number."""
        plain = asdict(self)
        for column, told in zip(self.columns, plain["columns"], strict=True):
            told["null_share"] = column.null_share
        return dict(_plain(plain))


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a column
    match value:
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)
