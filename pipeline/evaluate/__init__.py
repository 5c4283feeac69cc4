"""Metrics, the verdict and the champion."""

from pipeline.evaluate.evaluate import EvaluateReport, run

__all__ = ["EvaluateReport", "run"]
