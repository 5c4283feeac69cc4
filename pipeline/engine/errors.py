"""What can go wrong with the engine itself, as opposed to a task in it."""

from pipeline.errors import TrendmillError

__all__ = ["EngineError"]


class EngineError(TrendmillError):
    """The embedded engine cannot start, or one of its processes ended by itself."""
