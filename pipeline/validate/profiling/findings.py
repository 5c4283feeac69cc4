"""What looks suspicious about a source: one sentence each, the gravest first."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from pipeline.feeds import FEEDS
from pipeline.validate.profiling.profile import QUANTILES, ColumnProfile, FeedProfile

__all__ = ["findings_of"]

OUTLIER_FACTOR = 100
"""A largest number so many times the 99 % quantile is pointed out."""
MANY_ROWS = 100
"""A column says the same in fewer rows than this by chance."""


def findings_of(profile: FeedProfile) -> tuple[str, ...]:
    """Return a sentence for each suspicious thing."""
    of_columns = [sentence for column in profile.columns for sentence in _of_column(profile, column)]
    return (*_of_rows(profile), *of_columns)


def _of_rows(profile: FeedProfile) -> Iterator[str]:
    if profile.repeated_keys:
        key = ", ".join(FEEDS[profile.feed].landed_key(profile.grain))
        yield f"{_rows(profile.repeated_keys)} with the key of another one ({key}) but other values."
    if profile.repeated_rows:
        yield f"{_rows(profile.repeated_rows)} with nothing but a repetition of another one, which the gate drops."
    if profile.later_rows:
        yield (
            f"{_rows(profile.later_rows)} about days after {profile.as_of}, the latest {profile.latest}, left out: "
            "such a row is landed when its day has come."
        )
    if profile.days_without_rows:
        yield f"{profile.days_without_rows:,} of the days between the first and the last without any row."


def _of_column(profile: FeedProfile, column: ColumnProfile) -> Iterator[str]:
    if column.nulls == column.rows:
        if column.required:
            yield f"'{column.name}' is empty or cannot be read in any row, but the feed needs it."
        return
    if column.nulls and column.required:
        yield f"'{column.name}' is missing or cannot be read in {_rows(column.nulls)}; they would be quarantined."
    if column.not_finite:
        yield f"'{column.name}' is no finite number in {_rows(column.not_finite)}."
    if column.negative:
        yield f"'{column.name}' is negative in {_rows(column.negative)}, the least {column.minimum:,g}."
    if column.spellings:
        yield (
            f"{column.spellings:,} values of '{column.name}' differ from another one in upper and lower case or outer "
            f"blanks alone."
        )
    if _is_constant(profile, column):
        yield f"'{column.name}' says the same in every row{_what(column)}."
    if _is_outlying(column):
        usual = f"{QUANTILES[-1]:.0%} of rows have {column.quantiles[-1]:,g} or less"
        yield f"The largest '{column.name}' is {column.maximum:,g}, while {usual}."
    if _is_later(profile, column):
        yield f"'{column.name}' reaches beyond {profile.as_of}, up to {column.maximum}."


def _is_constant(profile: FeedProfile, column: ColumnProfile) -> bool:
    usual = FEEDS[profile.feed].defaults.get(column.name)
    return column.distinct == 1 and profile.rows >= MANY_ROWS and column.examples != (usual,)


def _is_outlying(column: ColumnProfile) -> bool:
    if not column.quantiles or not isinstance(column.maximum, int | float):
        return False
    return bool(column.maximum > OUTLIER_FACTOR * column.quantiles[-1] > 0)


def _is_later(profile: FeedProfile, column: ColumnProfile) -> bool:
    """Return whether a column that is no plan lies in the future: the feed's own day is spoken of with the rows."""
    if column.role == "known" or column.name == FEEDS[profile.feed].day:
        return False
    return _day(column.maximum) is not None and (_day(column.maximum) or profile.as_of) > profile.as_of


def _day(value: Any) -> date | None:  # noqa: ANN401 - any value of a column
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _what(column: ColumnProfile) -> str:
    return f": {column.examples[0]}" if column.examples else ""


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
