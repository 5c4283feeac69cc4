"""Why a task failed, in the one sentence of its log that says it."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["reason_of"]

_SILENT = "its log says nothing; the process was probably killed from outside."
_PLAIN = frozenset({"AirflowFailException", "AirflowException"})
"""Exceptions that only carry the message."""


def reason_of(log: Sequence[Mapping[str, Any]]) -> str:
    """Return the last meaningful error of a task's log, without a stack trace.

    Args:
        log: the lines as Airflow structures them, oldest first.
    """
    for line in reversed(log):
        if detail := line.get("error_detail"):
            return _exception(detail[0])
    for line in reversed(log):
        if str(line.get("level", "")).lower() in {"error", "critical"}:
            return str(line["event"])
    return _SILENT


def _exception(detail: Mapping[str, Any]) -> str:
    kind, lines = str(detail["exc_type"]), str(detail["exc_value"]).strip().splitlines()
    message = lines[0] if lines else ""  # a database's errors go on with whole statements
    if not message:
        return kind
    return message if kind in _PLAIN else f"{kind}: {message}"
