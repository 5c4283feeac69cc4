"""The report: one self-contained HTML page a cycle, for the planner and the analyst."""

from pipeline.publish.report.report import ReportReport, run

__all__ = ["ReportReport", "run"]
