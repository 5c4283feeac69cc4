"""The engine's processes: started under a guard each, found again wherever they went, measured, and ended."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pipeline.engine import guard
from pipeline.engine.errors import EngineError

__all__ = ["ENGINE_ID", "EngineProcess", "MemoryGauge", "end_all", "end_left_overs", "members"]

ENGINE_ID = "TRENDMILL_ENGINE_ID"
"""Environment variable that marks every process of one engine."""

_GRACE_SECONDS = 5.0
_GUARD_SECONDS = _GRACE_SECONDS + 5.0
_SAMPLE_SECONDS = 1.0
_ROUTINE = re.compile(r"\[(debug|info|warning) ")


@dataclass(frozen=True)
class EngineProcess:
    """One process of the engine, under its guard, in a session of its own."""

    name: str
    log: Path
    guard: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Self:
        """Start a command; the log holds what it writes, and nothing of earlier nights."""
        log.parent.mkdir(parents=True, exist_ok=True)
        guarded = [sys.executable, "-I", guard.__file__, str(_GRACE_SECONDS), *command]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                guarded,
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        return cls(name, log, process)

    @property
    def session(self) -> int:
        """Id of the session that all its descendants share, unless they open one of their own."""
        return self.guard.pid

    def check(self) -> None:
        """See that it still runs.

        Raises:
            EngineError: if it ended; the message gives its last words and its log.
        """
        code = self.guard.poll()
        if code is not None:
            msg = f"The engine's {self.name} ended by itself with status {code}{self._last_words()}; see {self.log}."
            raise EngineError(msg)

    def release(self) -> None:
        """Let go of the guard, which then ends everything."""
        if self.guard.stdin and not self.guard.stdin.closed:
            self.guard.stdin.close()

    def wait(self, seconds: float = _GUARD_SECONDS) -> None:
        """Wait for the guard to finish; end it hard when it takes too long."""
        try:
            self.guard.wait(seconds)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            self.guard.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        telling = [line.strip() for line in lines if line.strip() and not _ROUTINE.search(line)]
        return f" ({telling[-1]})" if telling else ""


def members(sessions: Iterable[int]) -> list[psutil.Process]:
    """Return all processes of the given sessions, whatever their process group or parent."""
    wanted = set(sessions)
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) in wanted:
                found.append(psutil.Process(pid))
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def end_left_overs(engine_id: str, sessions: Iterable[int], started: float) -> int:
    """End at once whatever an engine left behind; return how many processes that were.

    A process belongs to the engine if its environment carries the engine's id. Airflow hides or overwrites the
    environment of its own processes; those are known by their session, which nothing else can have joined.

    Args:
        engine_id: the engine's mark.
        sessions: ids of the engine's sessions.
        started: when the engine started, in seconds since 1970; older processes are never its own.
    """
    by_session = {process.pid for process in members(sessions)}
    ended = 0
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.create_time() < started - 1:
                continue
            if _belongs(process, engine_id, by_session):
                process.kill()
                ended += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return ended


def _belongs(process: psutil.Process, engine_id: str, by_session: set[int]) -> bool:
    if process.uids().real != os.getuid():
        return False
    try:
        environment = process.environ()
    except (psutil.AccessDenied, OSError):
        return process.pid in by_session
    if ENGINE_ID in environment:
        return environment[ENGINE_ID] == engine_id
    return process.pid in by_session and "airflow" in " ".join(process.cmdline())


class MemoryGauge:
    """Samples, in a thread, the memory that all processes of some sessions hold together.

    Shared pages are counted once (PSS) where the system tells them, otherwise as often as they are mapped (RSS).
    """

    def __init__(self, sessions: Iterable[int]) -> None:
        self.peak_bytes = 0
        self._sessions = tuple(sessions)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-gauge", daemon=True)

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, sum(_memory(process) for process in members(self._sessions)))


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        pass
    except psutil.NoSuchProcess:
        return 0
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def end_all(processes: Sequence[EngineProcess], engine_id: str, started: float) -> None:
    """End all processes and whatever came from them; the last started go first."""
    for process in reversed(processes):
        process.release()
    deadline = time.monotonic() + _GUARD_SECONDS
    for process in processes:
        process.wait(max(0.1, deadline - time.monotonic()))
    end_left_overs(engine_id, [process.session for process in processes], started)
