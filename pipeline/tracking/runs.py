"""A cycle's runs: opened at its beginning, filled by the stages, closed at its end; every step can be repeated."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.entities import Dataset, DatasetInput, LoggedModel, LoggedModelStatus, Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import pipeline
from pipeline import models
from pipeline.candidates import NEURAL, CandidateSettings
from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.models import Forecaster
from pipeline.provenance import provenance
from pipeline.stage import StageReport
from pipeline.tracking.client import connect, experiment_id

__all__ = ["BeginReport", "CandidateRun", "CloseReport", "begin", "candidate_run", "close", "log_to_cycle"]

_CYCLE, _CANDIDATE, _SETTINGS, _DIGEST = (
    f"trendmill.{word}" for word in ("cycle", "candidate", "settings", "model_digest")
)
_PERIOD = "trendmill.period"
"""Whether leads, horizons and steps of this run count days or weeks."""
_PARENT = "mlflow.parentRunId"
_PACKAGES = ("tensorflow-cpu", "tensorflow", "keras", "lightgbm", "statsmodels", "numpy")
"""Packages whose versions decide what a candidate learns."""
_SIGNATURE = ModelSignature(inputs=Schema([ColSpec(DataType.string, name) for name in ("panel", "origin")]))
"""What a served forecaster is asked with; see `pipeline.tracking.served`."""

Curve = Mapping[str, Sequence[tuple[int, float]]]
"""Points (step, value) of each metric of a learning curve."""


@dataclass(frozen=True)
class BeginReport(StageReport):
    """What a cycle will do, and the MLflow run that it is recorded in."""

    mlflow_run_id: str
    feeds: list[str]
    candidates: list[str]
    """Candidates that train on any worker."""
    neural: list[str]
    """Candidates that train on the `gpu` queue."""

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return f"{len(self.feeds)} feeds and {len(self.candidates) + len(self.neural)} candidates to go."


@dataclass(frozen=True)
class CloseReport(StageReport):
    """How a cycle ended."""

    mlflow_run_id: str
    status: str

    def summary(self) -> str:
        """Return one sentence for a log or a terminal."""
        return f"The cycle's MLflow run is {self.status}."


@dataclass(frozen=True)
class CandidateRun:
    """A candidate's run in MLflow."""

    cycle: Cycle
    candidate: str
    run_id: str

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record single metrics."""
        self.log_curve({name: [(0, value)] for name, value in metrics.items()})

    def log_curve(self, curve: Curve) -> None:
        """Record learning curves; points that stand there already are left."""
        client = connect(self.cycle)
        now = time.time_ns() // 1_000_000  # two values of one step and instant cannot be copied to the next model
        for name, points in curve.items():
            held = {(point.step, point.value) for point in client.get_metric_history(self.run_id, name)}
            fresh = [Metric(name, value, now, step) for step, value in points if (step, value) not in held]
            for start in range(0, len(fresh), 1000):
                client.log_batch(self.run_id, metrics=fresh[start : start + 1000])

    def log_inputs(self, inputs: Mapping[str, str]) -> None:
        """Record what the candidate learnt from (panel, table versions) and the code and packages that did it."""
        client = connect(self.cycle)
        tags = {f"input.{name}": value for name, value in inputs.items()} | provenance() | _packages()
        client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        place = self.cycle.lake.place
        tables = [
            DatasetInput(Dataset(name, f"version {value}", "delta", json.dumps({"uri": f"{place}/{name}"})))
            for name, value in inputs.items()
            if self.cycle.lake.exists(name)
        ]
        client.log_inputs(self.run_id, tables)

    def log_forecaster(self, forecaster: Forecaster) -> str:
        """Store the fitted forecaster as the run's model and return its URI; an equal one is not stored again."""
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "forecaster"
            models.save(forecaster, folder)
            digest = _digest(folder)
            held = self._model()
            if held is not None and held.tags.get(_DIGEST) == digest:
                return str(held.model_uri)
            client = connect(self.cycle)
            with mlflow.start_run(run_id=self.run_id, log_system_metrics=False):
                logged = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(Path(__file__).with_name("served.py")),
                    artifacts={"forecaster": str(folder)},
                    signature=_SIGNATURE,
                    pip_requirements=[f"trendmill=={pipeline.__version__}"],
                )
            client.set_logged_model_tags(logged.model_id, {_DIGEST: digest})
            client.update_run(self.run_id, status="RUNNING")
        return str(logged.model_uri)

    def model_uri(self) -> str:
        """Return the URI of the model that was stored last.

        Raises:
            StageError: if the candidate has not been trained in this cycle.
        """
        held = self._model()
        if held is None:
            msg = f"The candidate '{self.candidate}' of {self.cycle.key} has not been trained; run 'trendmill train'."
            raise StageError(msg)
        return str(held.model_uri)

    def _model(self) -> LoggedModel | None:
        found = connect(self.cycle).search_logged_models(
            [experiment_id(self.cycle)],
            filter_string=f"source_run_id = '{self.run_id}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
        return next(
            (model for model in found if model.status == LoggedModelStatus.READY and _DIGEST in model.tags), None
        )


def begin(cycle: Cycle) -> BeginReport:
    """Open the cycle's run and one child run a candidate; runs that an earlier attempt opened are taken up again.

    A candidate whose settings have changed since starts with a fresh run.
    """
    client = connect(cycle)
    parent = _find(cycle, None) or _create(
        cycle, str(cycle.as_of), {_CYCLE: cycle.key, _PERIOD: cycle.market.period_name}
    )
    client.update_run(parent, status="RUNNING")
    for name, settings in cycle.market.candidates.items():
        held = _find(cycle, name)
        if held is not None and client.get_run(held).data.tags.get(_SETTINGS) != _text(settings):
            client.delete_run(held)
            held = None
        if held is None:
            _open_candidate(cycle, parent, name, settings)
        else:
            client.update_run(held, status="RUNNING")
    neural = [name for name, settings in cycle.market.candidates.items() if settings.model in NEURAL]
    others = [name for name in cycle.market.candidates if name not in neural]
    return BeginReport(parent, list(cycle.market.feeds), others, neural)


def close(cycle: Cycle, *, succeeded: bool) -> CloseReport:
    """End the cycle's runs with how it went."""
    client = connect(cycle)
    status = "FINISHED" if succeeded else "FAILED"
    parent = _run_id(cycle, None)
    for run_id in (*filter(None, (_find(cycle, name) for name in cycle.market.candidates)), parent):
        client.set_terminated(run_id, status)
    return CloseReport(parent, status)


def candidate_run(cycle: Cycle, candidate: str) -> CandidateRun:
    """Return the run that `begin` opened for a candidate.

    Raises:
        StageError: if there is none.
    """
    return CandidateRun(cycle, candidate, _run_id(cycle, candidate))


def log_to_cycle(
    cycle: Cycle,
    *,
    description: str | None = None,
    metrics: Mapping[str, float] | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Add a description (Markdown), metrics and files to the cycle's run and return its id."""
    client = connect(cycle)
    run_id = _run_id(cycle, None)
    if description is not None:
        client.set_tag(run_id, "mlflow.note.content", description)
    CandidateRun(cycle, "", run_id).log_metrics(metrics or {})
    for file in files:
        client.log_artifact(run_id, str(file))
    return run_id


def _open_candidate(cycle: Cycle, parent: str, name: str, settings: CandidateSettings) -> None:
    tags = {
        _CYCLE: cycle.key,
        _CANDIDATE: name,
        _PERIOD: cycle.market.period_name,
        _PARENT: parent,
        _SETTINGS: _text(settings),
    }
    run_id = _create(cycle, name, tags)
    params = {key: str(value) for key, value in settings.model_dump().items()} | {"seed": str(cycle.seed)}
    connect(cycle).log_batch(run_id, params=[Param(key, value) for key, value in params.items()])


def _create(cycle: Cycle, name: str, tags: Mapping[str, str]) -> str:
    run = connect(cycle).create_run(experiment_id(cycle), run_name=name, tags=dict(tags))
    return str(run.info.run_id)


def _run_id(cycle: Cycle, candidate: str | None) -> str:
    run_id = _find(cycle, candidate)
    if run_id is None:
        what = f"candidate '{candidate}' of {cycle.key}" if candidate else cycle.key
        msg = f"MLflow has no run of {what} yet; begin the cycle first ('trendmill cycle' or the DAG's first task)."
        raise StageError(msg)
    return run_id


def _find(cycle: Cycle, candidate: str | None) -> str | None:
    """Return the run of the cycle, or of one of its candidates."""
    found = connect(cycle).search_runs(
        [experiment_id(cycle)], filter_string=f"tags.`{_CYCLE}` = '{cycle.key}'", order_by=["start_time ASC"]
    )
    return next((str(run.info.run_id) for run in found if run.data.tags.get(_CANDIDATE) == candidate), None)


def _text(settings: CandidateSettings) -> str:
    return json.dumps(settings.model_dump(), sort_keys=True)


def _digest(folder: Path) -> str:
    digest = sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[f"package.{name}"] = version(name)
        except PackageNotFoundError:
            continue
    return found
