"""Nothing that the engine starts outlives it, whichever way it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.engine import processes
from pipeline.engine.errors import EngineError
from pipeline.engine.processes import ENGINE_ID, EngineProcess, MemoryGauge, end_all, end_left_overs, members

# A process with a child in a process group of its own, and a daemon in a session of its own; all are deaf to SIGTERM.
FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def tell():
    with open(sys.argv[1], "a") as file: file.write(f"{os.getpid()}\\n")
if os.fork() == 0:
    os.setpgid(0, 0)
    tell(); time.sleep(600)
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    tell(); time.sleep(600)
tell(); time.sleep(600)
"""
# Marks are of this process alone: whoever runs these tests beside it has families too.
FAMILY_ID, OTHER_ID, MARKED_ID = (f"{name}-{os.getpid()}" for name in ("family", "other", "marked"))
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from pipeline.engine.processes import EngineProcess
EngineProcess.start("family", [sys.executable, "-c", sys.argv[1], sys.argv[2]], os.environ, Path(sys.argv[2] + ".log"))
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.5)


@pytest.fixture
def told(tmp_path):
    return tmp_path / "pids"


def start_family(told: Path, engine_id: str = FAMILY_ID) -> EngineProcess:
    environment = os.environ | {ENGINE_ID: engine_id}
    process = EngineProcess.start("family", [sys.executable, "-c", FAMILY, str(told)], environment, told.parent / "log")
    wait_for(lambda: len(pids(told)) == 3)
    return process


def pids(told: Path) -> list[int]:
    return [int(line) for line in told.read_text().split()] if told.exists() else []


def alive(numbers: list[int]) -> list[int]:
    return [pid for pid in numbers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_letting_go_ends_the_whole_family(told):
    process = start_family(told)
    process.release()
    process.wait()
    assert not alive(pids(told))


@pytest.mark.slow
def test_a_killed_supervisor_takes_the_whole_family_with_it(told):
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, FAMILY, str(told)])
    try:
        wait_for(lambda: len(pids(told)) == 3)
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    wait_for(lambda: not alive(pids(told)))


def test_what_a_killed_guard_leaves_is_found_by_its_mark(told):
    began = time.time()
    process = start_family(told, MARKED_ID)
    process.guard.kill()
    process.guard.wait()
    with pytest.raises(EngineError, match="family ended by itself with status -9"):
        process.check()
    end_left_overs(MARKED_ID, [process.session], began)
    wait_for(lambda: not alive(pids(told)))


def test_left_overs_of_others_are_spared(told):
    process = start_family(told, OTHER_ID)
    end_left_overs("mine", [], time.time() - 60)
    assert len(alive(pids(told))) == 3
    end_all([process], OTHER_ID, time.time() - 60)
    assert not alive(pids(told))


def test_a_command_that_ends_by_itself_is_named_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "print('no such table'); raise SystemExit(3)"]
    process = EngineProcess.start("scheduler", command, os.environ, tmp_path / "log")
    process.guard.wait()
    with pytest.raises(EngineError, match=r"scheduler ended by itself with status 3 \(no such table\)"):
        process.check()


def test_a_command_that_cannot_be_started_is_named(tmp_path):
    process = EngineProcess.start("scheduler", [str(tmp_path / "nothing")], os.environ, tmp_path / "log")
    process.guard.wait()
    with pytest.raises(EngineError, match="No such file or directory"):
        process.check()


def test_memory_is_counted_over_all_members(told):
    process = start_family(told)
    try:
        assert len(members([process.session])) >= 3
        with MemoryGauge([process.session]) as gauge:
            wait_for(lambda: gauge.peak_bytes > 0)
        assert gauge.peak_bytes > 1_000_000
    finally:
        end_all([process], FAMILY_ID, time.time() - 60)
