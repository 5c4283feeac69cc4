"""Fit a cycle's candidates and log them to MLflow."""

from pipeline.train.train import TrainReport, fit, run

__all__ = ["TrainReport", "fit", "run"]
