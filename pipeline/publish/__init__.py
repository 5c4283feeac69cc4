"""Forecasts, exports and the report: what a cycle gives to people."""

from pipeline.publish.publish import PublishReport, run

__all__ = ["PublishReport", "run"]
