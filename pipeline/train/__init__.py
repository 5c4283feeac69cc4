"""Fit a cycle's candidates and log them to MLflow."""

from pipeline.train.train import TrainReport, run

__all__ = ["TrainReport", "run"]
