"""Whole nights on the real engine, each run once and looked at by many tests."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
import pyarrow as pa
import pytest

from pipeline.cycle import Home
from pipeline.engine.settings import database_file
from pipeline.lake import Lake
from tests.conftest import AS_OF, write_small_market

NIGHT_SECONDS = 480
"""A small night takes a minute on two idle cores; this is for busy ones."""
CANDIDATES = {
    "seasonal_naive": {"model": "seasonal_naive"},
    "lightgbm": {"model": "lightgbm", "trees": 20},
}


@dataclass
class Witness:
    """What was seen of a command's processes while it ran."""

    processes: dict[int, psutil.Process] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    listening: set[tuple[str, int]] = field(default_factory=set)
    """Address and port of each listening socket."""

    def look(self, supervisor: psutil.Process) -> None:
        try:
            family = [supervisor, *supervisor.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                self.processes[process.pid] = process
                self.commands.add(" ".join(process.cmdline()))
                self.listening |= {
                    (socket.laddr.ip, socket.laddr.port)
                    for socket in process.net_connections("inet")
                    if socket.status == psutil.CONN_LISTEN or (not socket.raddr and socket.laddr)
                }
            except psutil.Error:
                continue

    def survivors(self) -> list[str]:
        """Return what of it still runs."""
        return [repr(process) for process in self.processes.values() if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Command:
    """`trendmill …` in a process of its own, watched from its start to its end."""

    def __init__(self, home: Home, *arguments: str, extra: Mapping[str, str]) -> None:
        environment = os.environ | {"TRENDMILL_HOME": str(home.path), "COLUMNS": "200", **extra}
        home.path.mkdir(parents=True, exist_ok=True)
        self._file = home.path.with_name(f"{home.path.name}.{time.monotonic_ns()}.txt")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._file.open("wb"),
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            # A shell that starts the tests in the background hands down that Ctrl-C is to be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        self.witness = Witness()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.code is None:
            self._process.kill()
            self._process.wait()
        self._over.set()
        self._watch.join()

    @property
    def code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What a person has read on the terminal so far."""
        return self._file.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = NIGHT_SECONDS) -> int:
        """Return the exit code."""
        return self._process.wait(seconds)

    def wait_until(self, condition: Callable[[], bool], seconds: float = NIGHT_SECONDS) -> None:
        """Wait for something to become true while the command runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.code is None, self.output
            assert time.monotonic() < deadline, f"waited in vain\n{self.output}"
            time.sleep(0.05)

    def _look(self) -> None:
        supervisor = psutil.Process(self._process.pid)
        while not self._over.wait(0.5):
            self.witness.look(supervisor)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    home: Home
    code: int
    output: str
    witness: Witness


@contextmanager
def started_night(market: Path, home: Home, **extra: str) -> Iterator[Command]:
    """Start a market's night on the real engine."""
    places = {"TRENDMILL_MARKETS": str(market.parent)}
    with Command(home, "run", str(market), "--date", str(AS_OF), extra=places | extra) as command:
        yield command


def whole_night(market: Path, home: Home, **extra: str) -> Done:
    """Run a market's night on the real engine to its end."""
    with started_night(market, home, **extra) as command:
        code = command.wait()
    return Done(home, code, command.output, command.witness)


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """Let nothing of the developer's own settings reach the nights."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRENDMILL_", "MLFLOW_", "AIRFLOW_"))]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the nights have their homes."""
    return tmp_path_factory.mktemp("nights")


@pytest.fixture(scope="session")
def market(places: Path) -> Path:
    """Return the YAML of the market whose nights are run."""
    return write_small_market(places / "market", candidates=CANDIDATES)


@pytest.fixture(scope="session")
def undisturbed(places: Path, market: Path) -> Home:
    """Return a home in which the night was run without Airflow, by nobody disturbed."""
    home = Home(places / "undisturbed")
    with Command(home, "cycle", str(market), "--date", str(AS_OF), extra={}) as command:
        assert command.wait() == 0, command.output
    return home


@pytest.fixture(scope="session")
def night(places: Path, market: Path) -> Done:
    """Return a whole night on the real engine."""
    done = whole_night(market, Home(places / "night"))
    assert done.code == 0, done.output
    return done


@dataclass(frozen=True)
class Table:
    """A lake table at its newest version."""

    version: int
    columns: Sequence[str]
    rows: Sequence[str]
    """Every row in full, sorted: the order of rows in a table means nothing."""


def lake_of(home: Home) -> dict[str, Table]:
    """Return every table of the small market in a home, whole."""
    root = home.lake / "small"
    names = sorted(str(log.parent.relative_to(root)) for log in root.rglob("_delta_log"))
    lake = Lake(str(root))
    return {name: _table(lake.version(name) or 0, lake.read(name)) for name in names}


def rows_of(home: Home) -> dict[str, Any]:
    """Return the columns and rows of every table, without the versions."""
    return {name: (table.columns, table.rows) for name, table in lake_of(home).items()}


def _table(version: int, content: pa.Table) -> Table:
    columns = sorted(content.column_names)
    rows = content.select(columns).to_pylist()
    return Table(version, columns, sorted(json.dumps(row, default=str) for row in rows))


def asked_of_airflow(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """Return what the metadata database of an engine that has ended says."""
    with closing(sqlite3.connect(f"file:{database_file(home)}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()
