"""The embedded real engine: Airflow's own processes, supervised, driven only through Airflow's public REST API."""

from pipeline.engine.errors import EngineError
from pipeline.engine.night import NightResult, TaskOutcome, run_night
from pipeline.engine.ui import serve_ui

__all__ = ["EngineError", "NightResult", "TaskOutcome", "run_night", "serve_ui"]
