"""Engine: Airflow's api-server, scheduler and dag-processor on one machine, started and ended as a whole."""

import importlib.metadata
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from pipeline.cycle import Home
from pipeline.engine import warm
from pipeline.engine.credentials import Credentials
from pipeline.engine.errors import EngineError
from pipeline.engine.lock import HomeLock, Tenant
from pipeline.engine.processes import EngineProcess, MemoryGauge, end_all, end_left_overs
from pipeline.engine.rest import AirflowApi
from pipeline.engine.settings import LOOPBACK, database_file, engine_environment

__all__ = ["Engine", "ended_by_signals", "needs_space"]

_START_SECONDS = 180.0
_POLL_SECONDS = 0.25
_LEAST_FREE_BYTES = 1_000_000_000
_AIRFLOW = (sys.executable, "-P", "-m", "airflow")
_WARM_AIRFLOW = (sys.executable, "-P", warm.__file__)
_COMPONENTS = ("metadatabase", "scheduler", "dag_processor")
_BROKEN_MARKETS = "broken_markets.py"
"""The DAG file whose import error tells of markets that cannot be read."""
_LEFT_OVER_NOTE = "The engine that ran it was stopped before it finished."


class Engine:
    """The engine as a context: it runs inside the `with` block, and nothing of it survives the block's end.

    Args:
        home: where its state is kept; no second engine may run in it.
        port: the api-server's port on the loopback address.
        follow_schedule: whether nightly runs may start by themselves (only of DAGs that somebody has unpaused).
        extra: further environment variables for its processes.
    """

    def __init__(self, home: Home, *, port: int, follow_schedule: bool, extra: Mapping[str, str]) -> None:
        self.home = home
        self.address = f"http://{LOOPBACK}:{port}"
        self.start_seconds = 0.0
        self.logs = home.airflow / "logs" / "engine"
        self._port = port
        self._follow_schedule = follow_schedule
        self._extra = extra
        self._id = uuid.uuid4().hex
        self._started = time.time()
        self._processes: list[EngineProcess] = []
        self._stack = ExitStack()
        self._predecessor: Tenant | None = None
        self._let_go = ""

    def __enter__(self) -> Self:
        """Start everything and wait until Airflow reports itself healthy.

        Raises:
            EngineError: if the disk is full, the home is taken, or a process does not come up.
        """
        began = time.monotonic()
        needs_space(self.home)
        with ExitStack() as stack:
            self._lock = stack.enter_context(HomeLock(self.home.path))
            self._end_predecessor()
            self.credentials = Credentials.ensure(self.home.airflow)
            self._environment = engine_environment(
                self.home,
                self.credentials,
                port=self._port,
                engine_id=self._id,
                follow_schedule=self._follow_schedule,
                task_slots=_task_slots(),
                extra=self._extra,
            )
            stack.callback(self._end)
            self._note()
            self._migrate()
            self.api = stack.enter_context(AirflowApi(self.address))
            self._start_components()
            self._gauge = stack.enter_context(MemoryGauge([process.session for process in self._processes]))
            self._stack = stack.pop_all()
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self._stack.close()

    @property
    def peak_memory_bytes(self) -> int:
        """The most that all processes together have held at once, so far."""
        return self._gauge.peak_bytes

    def check(self) -> None:
        """See that all processes still run.

        Raises:
            EngineError: naming the one that ended, with its last words.
        """
        for process in self._processes:
            process.check()

    def add(self, name: str, command: list[str]) -> None:
        """Run one more process beside Airflow's own, with the same life."""
        process = EngineProcess.start(name, command, self._environment, self.logs / f"{name}.log")
        self._processes.append(process)
        self._note()

    def wait_until_parsed(self, dag_id: str, market_file: Path) -> None:
        """Wait for the dag-processor to read the DAG as it is now.

        What an earlier engine's dag-processor could not import, and other markets that are broken, are no hindrance.

        Args:
            dag_id: the DAG to wait for.
            market_file: the market that it is made of.

        Raises:
            EngineError: if the market or the DAG file cannot be read, or the DAG does not appear in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            parsed = self.api.parsed_at(dag_id)
            if parsed and parsed.timestamp() >= self._started:
                return
            self.check()
            problems = [found for found in self.api.import_problems() if found.seen.timestamp() >= self._started]
            if own := [sentence for found in problems if (sentence := found.sentence_on(market_file))]:
                raise EngineError(own[0].removeprefix("ImportError: "))
            blocked = parsed is None and any(Path(found.file).name != _BROKEN_MARKETS for found in problems)
            if blocked or time.monotonic() > deadline:
                errors = "; ".join(found.message for found in problems) or "no import error"
                msg = f"Airflow does not know the DAG {dag_id} ({errors}); see {self.logs}."
                raise EngineError(msg)
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def letting_go(self, dag_id: str) -> Iterator[None]:
        """Let a paused DAG run inside the block, and hold it again afterwards, even if this engine is killed."""
        if not self.api.is_paused(dag_id):
            yield
            return
        self._let_go = dag_id
        self._note()
        self.api.pause(dag_id, paused=False)
        try:
            yield
        finally:
            self._hold(dag_id)

    def _hold(self, dag_id: str) -> None:
        try:
            self.api.pause(dag_id, paused=True)
        except EngineError:
            self._lock.keep_note()
        else:
            self._let_go = ""
            self._note()

    def _end_predecessor(self) -> None:
        """End what an earlier engine left behind in this home, if it was killed."""
        self._predecessor = self._lock.left_over()
        if self._predecessor:
            end_left_overs(self._predecessor.engine_id, self._predecessor.sessions, self._predecessor.started)
            self._let_go = self._predecessor.let_go

    def _note(self) -> None:
        sessions = tuple(process.session for process in self._processes)
        self._lock.note(Tenant(os.getpid(), self._id, self._started, sessions, self._let_go))

    def _migrate(self) -> None:
        """Bring the metadata database to the installed Airflow's schema; quick when it is there already."""
        stamp, database = self.home.airflow / "migrated_to", database_file(self.home)
        version = importlib.metadata.version("apache-airflow-core")
        if database.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == version:
            return
        self.add("migrate", [*_AIRFLOW, "db", "migrate"])
        migration = self._processes[-1]
        code = migration.guard.wait()
        self._processes.remove(migration)
        if code:
            msg = f"Airflow's database {database} cannot be migrated (status {code}); see {migration.log}."
            raise EngineError(msg)
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        database.chmod(0o600)
        stamp.write_text(version, encoding="utf-8")

    def _start_components(self) -> None:
        self.add("api-server", [*_AIRFLOW, "api-server"])
        if self._predecessor:
            self._put_right()
        self.add("scheduler", [*_WARM_AIRFLOW, "scheduler", "--skip-serve-logs"])
        self.add("dag-processor", [*_AIRFLOW, "dag-processor"])
        self._wait_for("metadatabase")
        self.api.warm_up()
        self._wait_for(*_COMPONENTS)
        self._log_in()
        self.api.ensure_pool("cpu", os.cpu_count() or 1, "Trendmill's tasks; one slot a core.")
        self.api.ensure_pool("gpu", 1, "Trendmill's neural networks; one slot a GPU.")

    def _put_right(self) -> None:
        """Undo what a killed engine left in the database, before a scheduler could act on it."""
        self._wait_for("metadatabase")
        self._log_in()
        if self._let_go:
            self.api.pause(self._let_go, paused=True)
            self._let_go = ""
            self._note()
        if not self._follow_schedule:
            for dag_id, run_id in self.api.unfinished_runs():
                self.api.fail(dag_id, run_id, _LEFT_OVER_NOTE)

    def _wait_for(self, *components: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            health = self.api.health()
            if all(health.get(name) == "healthy" for name in components):
                return
            self.check()
            if time.monotonic() > deadline:
                waiting = ", ".join(name for name in components if health.get(name) != "healthy")
                msg = f"Airflow did not come up within {_START_SECONDS:.0f} s (waiting for {waiting}); see {self.logs}."
                raise EngineError(msg)
            time.sleep(_POLL_SECONDS)

    def _log_in(self) -> None:
        self.api.log_in(self.credentials.user, self.credentials.password())

    def _end(self) -> None:
        with _undisturbed():
            end_all(self._processes, self._id, self._started)


def needs_space(home: Home) -> None:
    """See that the disk has room for a night.

    Raises:
        EngineError: if less than a gigabyte is free.
    """
    folder = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        msg = f"Only {free / 1e6:.0f} MB are free on the disk of {folder}; make room for at least 1 GB."
        raise EngineError(msg)


def _task_slots() -> int:
    """Return how many tasks may run at once: a core each, and one more for the GPU."""
    return (os.cpu_count() or 1) + 1


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an orderly end of the block, with the status that a shell expects."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no further signal disturb the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
