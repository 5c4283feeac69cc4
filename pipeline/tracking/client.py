"""Where MLflow is: `MLFLOW_TRACKING_URI`, or a SQLite database and a folder in Trendmill's home."""

import logging
import os
from functools import cache

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.cycle import Cycle, Home

__all__ = ["connect", "experiment_id"]


_GIVEN_URI = os.environ.get("MLFLOW_TRACKING_URI")
"""Read once: MLflow puts whatever it is told to use into this variable."""


def connect(cycle: Cycle) -> MlflowClient:
    """Return a client of the cycle's MLflow, with its experiment in place."""
    uri = _tracking_uri(cycle.home)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for noisy in ("mlflow.store.db", "mlflow.utils.environment", "alembic", "mlflow.tracking"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return MlflowClient(uri, uri)


def experiment_id(cycle: Cycle) -> str:
    """Return the id of the market's experiment, which is made when it is first asked for."""
    client = connect(cycle)
    found = client.get_experiment_by_name(cycle.market.name)
    if found is None:
        try:
            return client.create_experiment(cycle.market.name, artifact_location=_artifact_location(cycle.home))
        except MlflowException:
            found = client.get_experiment_by_name(cycle.market.name)
            if found is None:
                raise
    return found.experiment_id


@cache
def _tracking_uri(home: Home) -> str:
    if _GIVEN_URI:
        return _GIVEN_URI
    home.mlflow.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{home.mlflow / 'mlflow.db'}"


def _artifact_location(home: Home) -> str | None:
    """Return where artifacts go: a server decides for itself, a database leaves it to us."""
    served = _tracking_uri(home).startswith(("http://", "https://"))
    return None if served else (home.mlflow / "artifacts").as_uri()
