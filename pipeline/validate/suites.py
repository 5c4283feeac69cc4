"""The data contracts as rules: an expectation suite read from `expectations/`, with its thresholds filled in."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.errors import ConfigError

__all__ = ["Rule", "Severity", "Suite", "expectations_dir", "load_suite"]

Severity = Literal["critical", "warning", "info"]
"""What a broken rule does: it blocks the batch, sends the row to quarantine, or is only shown."""

_PRESENCE = "expect_column_values_to_not_be_null"
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


@dataclass(frozen=True)
class Rule:
    """One expectation with its name, its reason and its severity."""

    name: str
    reason: str
    severity: Severity
    type: str
    arguments: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule speaks of."""
        single = [self.arguments[argument] for argument in _COLUMN_ARGUMENTS if argument in self.arguments]
        return (*single, *self.arguments.get("column_list", ()))

    @property
    def asks_for_presence(self) -> bool:
        """Whether the rule asks only if a value is there, whatever it is."""
        return self.type == _PRESENCE

    @property
    def configuration(self) -> dict[str, Any]:
        """The rule as Great Expectations reads it."""
        meta = {"rule": self.name, "reason": self.reason}
        return {"type": self.type, "kwargs": dict(self.arguments), "severity": self.severity, "meta": meta}


@dataclass(frozen=True)
class Suite:
    """The rules of one file in `expectations/`, in their order."""

    name: str
    rules: tuple[Rule, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that its rules speak of, each once."""
        return tuple(dict.fromkeys(column for rule in self.rules for column in rule.columns))

    @cached_property
    def columns_looked_into(self) -> frozenset[str]:
        """The columns whose values matter to a rule, not only whether they are there."""
        return frozenset(column for rule in self.rules if not rule.asks_for_presence for column in rule.columns)


def expectations_dir() -> Path:
    """Return the folder of the suites: `TRENDMILL_EXPECTATIONS`, or `expectations/` beside the package."""
    beside = Path(__file__).resolve().parents[2] / "expectations"
    return Path(os.environ.get("TRENDMILL_EXPECTATIONS") or beside)


def load_suite(name: str, parameters: Mapping[str, Any], *, feed: str) -> Suite:
    """Return a suite with its placeholders filled in.

    Args:
        name: name of the suite's file in `expectations/`.
        parameters: values of `{"$PARAMETER": "name"}` in arguments and of `{name}` in reasons.
        feed: rules whose `meta.feeds` does not name it are left out.

    Raises:
        ConfigError: if the file is missing, is no suite, or asks for an unknown parameter.
    """
    file = expectations_dir() / f"{name}.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rules = [
            _rule(expectation, parameters)
            for expectation in content["expectations"]
            if feed in expectation["meta"].get("feeds", [feed])
        ]
        return Suite(content["name"], tuple(rules))
    except FileNotFoundError as exc:
        msg = f"There is no expectation suite {file}; every feed needs one."
        raise ConfigError(msg) from exc
    except KeyError as exc:
        msg = (
            f"{file} is no valid suite: {exc} is missing, or is no parameter of the gate, which has "
            f"{', '.join(sorted(parameters))}."
        )
        raise ConfigError(msg) from exc
    except (json.JSONDecodeError, AttributeError, TypeError, ValueError) as exc:
        msg = f"{file} is no valid suite: {str(exc).splitlines()[0]}; mend that place in it."
        raise ConfigError(msg) from exc


def _rule(expectation: Mapping[str, Any], parameters: Mapping[str, Any]) -> Rule:
    severity = expectation["severity"]
    if severity not in get_args(Severity):
        msg = f"the severity '{severity}' is none of {', '.join(get_args(Severity))}"
        raise ValueError(msg)
    return Rule(
        name=expectation["meta"]["rule"],
        reason=expectation["meta"]["reason"].format_map(parameters),
        severity=severity,
        type=expectation["type"],
        arguments=_filled(expectation["kwargs"], parameters),
    )


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    match value:
        case {"$PARAMETER": str(name)}:
            return parameters[name]
        case dict():
            return {key: _filled(part, parameters) for key, part in value.items()}
        case list():
            return [_filled(part, parameters) for part in value]
        case _:
            return value
