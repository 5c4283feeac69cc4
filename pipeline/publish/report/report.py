"""The front door: write a cycle's page and log it to the cycle's MLflow run."""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipeline import tracking
from pipeline.cycle import Cycle
from pipeline.publish.report.content import gather
from pipeline.publish.report.page import render
from pipeline.stage import StageReport

__all__ = ["ReportReport", "run"]


@dataclass(frozen=True)
class ReportReport(StageReport):
    """Where a cycle's page lies, and the MLflow run that keeps a copy of it."""

    file: str
    mlflow_run_id: str
    size_bytes: int

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return f"Report: {min(self.file, os.path.relpath(self.file), key=len)} ({self.size_bytes / 1024:,.0f} KiB)."


def run(cycle: Cycle) -> ReportReport:
    """Write the page of a published cycle, all of it or nothing; the same inputs give the same bytes.

    Raises:
        StageError: if the cycle has not been published, or its panel was rebuilt since.
    """
    page = render(gather(cycle)).encode()
    _write(cycle.report_file, page)
    run_id = tracking.log_to_cycle(cycle, files=[cycle.report_file])
    return ReportReport(str(cycle.report_file), run_id, len(page))


def _write(file: Path, page: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        scratch.write_bytes(page)
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)
