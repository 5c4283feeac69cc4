"""The draft of a suite for a source, made from its profile, for a person to read, mend and put in force."""

import json
import math
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.feeds import FEEDS
from pipeline.validate.profiling.profile import ColumnProfile, FeedProfile
from pipeline.validate.suites import expectations_dir

__all__ = ["draft_suite", "write_draft"]

WIDENED = 2
"""A range reaches so many times as far as what the profile has seen, rounded up."""
ROWS_A_VALUE = 10
"""Only a column with so many rows for each of its values has a closed set of them."""

_OPEN_SETS = {"item", "title", "order_id", "line", "event_id", "attributes"}
"""Columns that get new values all the time."""


def draft_suite(profile: FeedProfile) -> dict[str, Any]:
    """Return a Great Expectations suite: row rules that fit, and those of the active suite that no profile can find.

    Rows of the profile break none of its rules, but where they lack or garble what the contract requires.
    """
    names = {column.name for column in profile.columns}
    rules = [rule for column in profile.columns if column.role != "personal" for rule in _rules_for(profile, column)]
    rules += [rule for rule in _active_rules(profile) if rule["kwargs"].get("column") not in names]
    about = (
        f"Draft for the {profile.feed} of '{profile.market}', from {profile.rows:,} rows as of {profile.as_of}. Read "
        f"every rule before it judges anything."
    )
    return {"name": _name(profile), "meta": {"about": about}, "expectations": rules}


def write_draft(profile: FeedProfile) -> Path:
    """Write the draft to `drafts/` in the folder of the suites and return its file; it judges nothing there.

    Raises:
        ConfigError: if there is such a draft already, or it cannot be written.
    """
    file = expectations_dir() / "drafts" / f"{_name(profile)}.json"
    try:
        file.parent.mkdir(exist_ok=True)
        with file.open("x", encoding="utf-8") as draft:
            draft.write(json.dumps(draft_suite(profile), indent=2, ensure_ascii=False) + "\n")
    except FileExistsError as exc:
        msg = f"The draft {file} is there already and may have been worked on; remove or rename it first."
        raise ConfigError(msg) from exc
    except OSError as exc:
        msg = f"The draft {file} cannot be written ({exc.strerror}); check the folder's owner and its room."
        raise ConfigError(msg) from exc
    return file


def _name(profile: FeedProfile) -> str:
    return f"{profile.market}_{profile.feed}"


def _active_rules(profile: FeedProfile) -> list[dict[str, Any]]:
    """Return the rules of the suite in force."""
    name = profile.feed if profile.grain == "facts" else f"{profile.feed}_lines"
    file = expectations_dir() / f"{name}.json"
    if not file.exists():
        return []
    return list(json.loads(file.read_text(encoding="utf-8"))["expectations"])


def _rules_for(profile: FeedProfile, column: ColumnProfile) -> list[dict[str, Any]]:
    rules = []
    if column.required:
        reason = f"{column.name} is missing or cannot be read"
        rules.append(_rule("expect_column_values_to_not_be_null", "warning", column, "present", reason))
    elif not column.nulls:
        reason = f"{column.name} is missing, though it never was in {profile.rows:,} rows"
        rules.append(_rule("expect_column_values_to_not_be_null", "info", column, "present", reason))
    if isinstance(column.minimum, int | float) and not isinstance(column.minimum, bool):
        low, high = _widened(column)
        reason = f"{column.name} lies outside {low:,g} to {high:,g}"
        bounds = {"min_value": low, "max_value": high}
        rules.append(_rule("expect_column_values_to_be_between", "warning", column, "plausible", reason, **bounds))
    if _has_closed_set(profile, column):
        severity = "info" if column.role in {"key", "static"} else "warning"
        reason = f"{column.name} is none of the values known so far"
        values = {"value_set": list(column.known_values)}
        rules.append(_rule("expect_column_values_to_be_in_set", severity, column, "known", reason, **values))
    return rules


def _rule(kind: str, severity: str, column: ColumnProfile, rule: str, reason: str, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "type": kind,
        "severity": severity,
        "kwargs": {"column": column.name, **kwargs},
        "meta": {"rule": f"{column.name}_{rule}", "reason": reason},
    }


def _widened(column: ColumnProfile) -> tuple[float, float]:
    """Return a range with room for what has not been seen yet; what was never negative stays so."""
    low = -_rounded_up(-WIDENED * column.minimum) if column.minimum < 0 else 0
    return low, _rounded_up(WIDENED * column.maximum) if column.maximum > 0 else 0


def _rounded_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50, ...

    >>> _rounded_up(7.5), _rounded_up(130), _rounded_up(0.15)
    (10, 200, 0.2)
    """
    scale = 10.0 ** math.floor(math.log10(value))
    rounded = next(step * scale for step in (1, 2, 5, 10) if step * scale >= value)
    return int(rounded) if rounded >= 1 else round(rounded, 12)


def _has_closed_set(profile: FeedProfile, column: ColumnProfile) -> bool:
    usual = FEEDS[profile.feed].defaults.get(column.name)
    if not column.known_values or column.known_values == (usual,) or column.name in _OPEN_SETS:
        return False
    return column.rows >= ROWS_A_VALUE * column.distinct
