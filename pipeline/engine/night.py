"""One night on the real engine: start it, run one cycle's DAG through the REST API, watch, and end everything."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from rich.console import Console

from pipeline.cycle import Home, logical_date_of
from pipeline.engine.engine import Engine, ended_by_signals
from pipeline.engine.errors import EngineError
from pipeline.engine.failure import reason_of
from pipeline.engine.markets import MARKET_FILES, market_files, note_market
from pipeline.engine.ports import free_port
from pipeline.engine.rest import AirflowApi, TaskState
from pipeline.engine.watch import open_watch
from pipeline.market import load_market

__all__ = ["NightResult", "TaskOutcome", "run_night"]

_POLL_SECONDS = 1.0
_WATCHER = "watcher"
_SUPERSEDED_NOTE = "Given up for a night that was started by hand."
_INTERRUPTED_NOTE = "The engine that ran it was stopped before it finished."


@dataclass(frozen=True)
class TaskOutcome:
    """How one task instance ended."""

    name: str
    state: str
    seconds: float | None
    """Of the last try; None if it never began."""
    tries: int


@dataclass(frozen=True)
class NightResult:
    """How a night ended."""

    state: str
    """`success` or `failed`."""
    dag_id: str
    run_id: str
    tasks: tuple[TaskOutcome, ...]
    failure: str | None
    """Which task failed and why, in a sentence."""
    engine_start_seconds: float
    total_seconds: float
    peak_memory_bytes: int

    @property
    def succeeded(self) -> bool:
        """Whether every task ended well."""
        return self.state == "success"


def run_night(market_file: Path, as_of: date, home: Home, console: Console) -> NightResult:
    """Run one cycle of a market on the embedded engine.

    A night that was run before is cleared and run again; every stage replaces just what it wrote.

    Args:
        market_file: the market's YAML.
        as_of: the last day whose data may be known.
        home: where all state is kept.
        console: where the progress is shown.

    Raises:
        ConfigError: if the market is broken.
        EngineError: if the engine cannot start or one of its processes ends.
    """
    began = time.monotonic()
    market = load_market(market_file)
    dag_id, run_id = f"daily_cycle__{market.name}", f"cycle__{as_of}"
    logical_date = logical_date_of(as_of, market)
    extra = {MARKET_FILES: market_files(home, market)}
    with ended_by_signals(), Engine(home, port=free_port(), follow_schedule=False, extra=extra) as engine:
        engine.wait_until_parsed(dag_id, market.file)
        note_market(home, market)
        start_seconds = time.monotonic() - began
        console.print(f"Airflow is up after {start_seconds:.1f} s.", highlight=False)
        api = engine.api
        _give_up_unfinished(api, dag_id)
        known = api.run_at(dag_id, logical_date)
        with engine.letting_go(dag_id), _given_up_if_interrupted(api, dag_id, known or run_id):
            if known:
                run_id = known
                api.clear(dag_id, run_id)
            else:
                api.trigger(dag_id, run_id, logical_date)
            tasks = _watch(engine, dag_id, run_id, console, f"{market.title}, as of {as_of}")
        state = api.run_state(dag_id, run_id)
        failure = None if state == "success" else _failure(api, dag_id, run_id, tasks)
        peak = engine.peak_memory_bytes
    if failure:
        console.print(failure, style="red", markup=False, highlight=False, soft_wrap=True)
    return NightResult(
        state=state,
        dag_id=dag_id,
        run_id=run_id,
        tasks=tuple(TaskOutcome(task.name, task.state, task.seconds, task.tries) for task in tasks),
        failure=failure,
        engine_start_seconds=start_seconds,
        total_seconds=time.monotonic() - began,
        peak_memory_bytes=peak,
    )


def _give_up_unfinished(api: AirflowApi, dag_id: str) -> None:
    """Free the DAG's single active run, which an interrupted night may still hold."""
    for _, run_id in api.unfinished_runs(dag_id):
        api.fail(dag_id, run_id, _SUPERSEDED_NOTE)


def _watch(engine: Engine, dag_id: str, run_id: str, console: Console, title: str) -> list[TaskState]:
    """Show the run until it ends; return its tasks as they ended."""
    labels: dict[tuple[str, int], str] = {}
    with open_watch(console, title) as watch:
        while True:
            engine.check()
            finished = engine.api.run_state(dag_id, run_id) in {"success", "failed"}
            tasks = sorted((_labelled(task, labels) for task in engine.api.tasks(dag_id, run_id)), key=_position)
            watch.show(tasks)
            if finished:
                return tasks
            time.sleep(_POLL_SECONDS)


def _labelled(task: TaskState, labels: dict[tuple[str, int], str]) -> TaskState:
    """Return the task with its label, which Airflow knows only while a try runs; the tasks of a group share theirs."""
    key = (task.task_id.rpartition(".")[0] or task.task_id, task.map_index)
    label = labels[key] = task.label or labels.get(key, "")
    return replace(task, label=label)


def _position(task: TaskState) -> tuple[bool, str]:
    """Order tasks as they began; those that have not begun come last."""
    return (task.started is None, task.started or "")


def _failure(api: AirflowApi, dag_id: str, run_id: str, tasks: Sequence[TaskState]) -> str:
    """Return a sentence for each task that failed by itself."""
    failed = [task for task in tasks if task.state == "failed" and task.task_id != _WATCHER]
    if not failed:
        return f"The run {run_id} of {dag_id} failed without a failed task; see it in the Airflow UI."
    reasons: dict[str, list[str]] = {}
    for task in failed:
        tries = f" (after {task.tries} tries)" if task.tries > 1 else ""
        reasons.setdefault(reason_of(api.log(dag_id, run_id, task)), []).append(task.name + tries)
    return "\n".join(f"Failed: {', '.join(names)}: {reason}" for reason, names in reasons.items())


@contextmanager
def _given_up_if_interrupted(api: AirflowApi, dag_id: str, run_id: str) -> Iterator[None]:
    """Mark the run as failed if the block does not come to its end: nothing is left that could finish it."""
    try:
        yield
    except BaseException:
        with suppress(EngineError):
            api.fail(dag_id, run_id, _INTERRUPTED_NOTE)
        raise
