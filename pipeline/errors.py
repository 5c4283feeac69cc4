"""The errors a user can meet: each message is one sentence with the thing, the cause and the way out."""

from typing import ClassVar

__all__ = [
    "ConfigError",
    "FencedError",
    "GateError",
    "LakeUnavailableError",
    "SourceError",
    "SourceUnavailableError",
    "StageError",
    "TrendmillError",
]


class TrendmillError(Exception):
    """Base of all errors whose message is meant for the person who ran the command."""

    may_pass: ClassVar[bool] = False
    """Whether the same work may succeed if it is simply tried again later."""


class ConfigError(TrendmillError):
    """A market file, a date or an option cannot be used as given."""


class SourceError(TrendmillError):
    """A source did not deliver what its feed's contract asks for."""


class SourceUnavailableError(SourceError):
    """A source does not answer now, or broke off; the next try may get through."""

    may_pass = True


class GateError(TrendmillError):
    """A landed batch broke a blocking rule, so nothing of it entered the lake."""


class StageError(TrendmillError):
    """A stage lacks what an earlier stage of the same cycle should have left."""


class FencedError(TrendmillError):
    """Another attempt at the same piece of work has committed since this one began."""

    may_pass = True


class LakeUnavailableError(TrendmillError):
    """The lake's store does not answer now; the next try may get through."""

    may_pass = True
