"""Housekeeping: what is not needed any more goes, what is kept is kept in good order; no result depends on it."""

from pipeline.maintain.maintain import MaintainReport, run

__all__ = ["MaintainReport", "run"]
