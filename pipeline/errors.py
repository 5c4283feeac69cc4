"""The errors a user can meet: each message is one sentence with the thing, the cause and the way out."""

__all__ = ["ConfigError", "FencedError", "GateError", "SourceError", "StageError", "TrendmillError"]


class TrendmillError(Exception):
    """Base of all errors whose message is meant for the person who ran the command."""


class ConfigError(TrendmillError):
    """A market file, a date or an option cannot be used as given."""


class SourceError(TrendmillError):
    """A source did not deliver what its feed's contract asks for."""


class GateError(TrendmillError):
    """A landed batch broke a blocking rule, so nothing of it entered the lake."""


class StageError(TrendmillError):
    """A stage lacks what an earlier stage of the same cycle should have left."""


class FencedError(TrendmillError):
    """Another attempt at the same piece of work has committed since this one began."""
