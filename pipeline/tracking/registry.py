"""The market's registered model: a version a publishing candidate, with the aliases `champion` and `previous`."""

from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from pipeline import models
from pipeline.cycle import Cycle
from pipeline.models import Forecaster
from pipeline.tracking.client import connect
from pipeline.tracking.runs import candidate_run

__all__ = ["load_candidate", "load_version", "move_champion", "register"]

_CHAMPION, _PREVIOUS = "champion", "previous"


def register(cycle: Cycle, candidate: str) -> int:
    """Return the registered version of a candidate's model in this cycle, making it if need be.

    Raises:
        StageError: if the candidate has not been trained in this cycle.
    """
    client = connect(cycle)
    run = candidate_run(cycle, candidate)
    source = run.model_uri()
    try:
        client.create_registered_model(cycle.market.name, description=cycle.market.title)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    held = client.search_model_versions(f"name = '{cycle.market.name}' and run_id = '{run.run_id}'")
    for version in held:
        if version.source == source:
            return int(version.version)
    tags = {"trendmill.cycle": cycle.key, "trendmill.candidate": candidate}
    made = client.create_model_version(cycle.market.name, source=source, run_id=run.run_id, tags=tags)
    return int(made.version)


def move_champion(cycle: Cycle, version: int, previous: int | None) -> None:
    """Put the alias `champion` on a version, and `previous` on the one that it replaces."""
    client = connect(cycle)
    if previous is not None:
        client.set_registered_model_alias(cycle.market.name, _PREVIOUS, str(previous))
    client.set_registered_model_alias(cycle.market.name, _CHAMPION, str(version))


def load_version(cycle: Cycle, version: int) -> Forecaster:
    """Return the forecaster that was registered as a version."""
    connect(cycle)
    return _loaded(f"models:/{cycle.market.name}/{version}")


def load_candidate(cycle: Cycle, candidate: str) -> Forecaster:
    """Return the forecaster that this cycle has trained for a candidate.

    Raises:
        StageError: if the candidate has not been trained in this cycle.
    """
    return _loaded(candidate_run(cycle, candidate).model_uri())


def _loaded(uri: str) -> Forecaster:
    return models.load(Path(mlflow.artifacts.download_artifacts(uri)) / "artifacts" / "forecaster")
