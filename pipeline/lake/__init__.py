"""The lake: Delta tables under one root, written a cycle at a time. The only code that opens a table."""

from pipeline.lake.lake import Attempt, Between, Commit, Lake
from pipeline.lake.upkeep import Tended, tend

__all__ = ["Attempt", "Between", "Commit", "Lake", "Tended", "tend"]
