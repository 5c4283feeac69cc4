"""`trendmill ...`: the same stages without Airflow; the order of the imports is the order of the help."""

# isort: skip_file
from pipeline.cli.app import app, main
from pipeline.cli import night, stages, data, profile, maintenance, simulation, tools

__all__ = ["app", "data", "main", "maintenance", "night", "profile", "simulation", "stages", "tools"]
