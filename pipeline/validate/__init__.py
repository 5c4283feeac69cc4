"""The gate: landed batches are checked against their suite; good rows become facts, bad ones wait in quarantine."""

from pipeline.validate.validate import ValidateReport, run

__all__ = ["ValidateReport", "run"]
