"""The lake: Delta tables under one root, written a cycle at a time. The only code that opens a table."""

from pipeline.lake.lake import Attempt, Commit, Lake

__all__ = ["Attempt", "Commit", "Lake"]
