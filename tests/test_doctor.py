"""The doctor: a sound installation passes, and each trouble is named with its way out."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import types
import zoneinfo

import pytest

from pipeline import doctor
from pipeline.cycle import Home


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def light(monkeypatch):
    """Leave TensorFlow's import out where it is not the point."""
    monkeypatch.setattr(doctor, "_tensorflow_and_gpu", list)


def finding(home, name):
    (found,) = [found for found in doctor.diagnose(home) if found.name == name]
    return found


def assert_trouble(found, *words):
    assert not found.ok
    assert found.remedy
    for word in words:
        assert word in f"{found.detail} {found.remedy}"
    assert "\n" not in f"{found.detail}{found.remedy}"


@pytest.mark.slow
def test_this_installation_is_sound(home):
    findings = doctor.diagnose(home)

    assert [found for found in findings if not found.ok] == []
    names = [found.name for found in findings]
    assert len(names) == len(set(names)) == 14
    assert all(found.remedy == "" for found in findings)
    assert not home.path.exists()  # a look leaves nothing behind


def test_unsupported_python(home, light, monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (3, 98))
    monkeypatch.setattr(doctor, "NEWEST_PYTHON", (3, 99))

    assert_trouble(finding(home, "Python"), sys.executable, "install Python 3.11")


def test_package_at_another_version_than_the_lock(home, light, monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# a comment\npandas==0.1\n    # via trendmill\nno-such-package==1.0\nrich==1.0 ; sys_platform == 'no-such'\n"
    )
    monkeypatch.setattr(doctor, "_ROOT", tmp_path)

    found = finding(home, "Packages")

    assert_trouble(found, "pandas is ", " instead of 0.1", "no-such-package is missing instead of 1.0")
    assert "rich" not in found.detail


def test_without_a_lock_versions_are_not_compared(home, light, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_ROOT", tmp_path)

    assert finding(home, "Packages").ok


def test_environment_without_bytecode(home, light, monkeypatch):
    monkeypatch.setattr(importlib.util, "cache_from_source", lambda source: f"{source}.none")

    assert_trouble(finding(home, "Bytecode"), "is not byte-compiled", "compileall")


def test_commands_of_a_moved_environment(home, light, monkeypatch, tmp_path):
    for name in ("airflow", "mlflow"):
        script = tmp_path / name
        script.write_text("#!/gone/.venv/bin/python\n")
        script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert_trouble(finding(home, "Commands"), "airflow and mlflow cannot be started", "make clean")


def test_tensorflow_that_does_not_import(home, monkeypatch):
    monkeypatch.setattr(doctor, "_TENSORFLOW_PROBE", "raise ImportError('libfoo.so is missing')")

    assert_trouble(finding(home, "TensorFlow"), "libfoo.so is missing")


def test_tensorflow_that_never_answers(home, monkeypatch):
    monkeypatch.setattr(doctor, "_TENSORFLOW_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TENSORFLOW_TIMEOUT_SECONDS", 0.5)

    assert_trouble(finding(home, "TensorFlow"), "no answer within 0.5 s")


@pytest.mark.parametrize(
    ("gpus", "cuda", "ok", "words"),
    [
        ([], False, True, "none"),
        (["/physical_device:GPU:0"], True, True, "1 seen"),
        ([], True, False, "sees no GPU"),
    ],
)
def test_gpu(monkeypatch, gpus, cuda, ok, words):
    monkeypatch.setattr(shutil, "which", lambda _: None)

    found = doctor._gpu(gpus, built_with_cuda=cuda)

    assert found.ok == ok
    assert words in found.detail


def test_home_that_cannot_be_written(home, light, monkeypatch, tmp_path):
    def refuse(dir):  # noqa: A002 - tempfile's own name
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)

    assert_trouble(finding(home, "Home"), "cannot be written (Permission denied)", str(tmp_path), "TRENDMILL_HOME")


def test_full_disk(home, light, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=3e8))

    assert_trouble(finding(home, "Disk"), "0.3 GB free", "free some")


def test_little_memory(home, light, monkeypatch):
    monkeypatch.setattr(doctor, "_memory_left_to_this_group", lambda: 5e8)

    assert_trouble(finding(home, "Memory"), "0.5 GB available")


def test_loopback_that_is_shut(home, light, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)

    assert_trouble(finding(home, "Loopback"), "127.0.0.1 cannot be used (Operation not permitted)")


def test_disk_without_wal(home, light, monkeypatch):
    class Connection:
        def execute(self, _):
            return self

        def fetchone(self):
            return ("delete",)

        def close(self):
            pass

    monkeypatch.setattr(doctor.sqlite3, "connect", lambda _: Connection())

    assert_trouble(finding(home, "SQLite"), "journal mode delete", "local disk")


def test_clock_that_runs_behind(home, light, monkeypatch):
    monkeypatch.setattr(doctor.time, "time", lambda: 0.0)

    assert_trouble(finding(home, "Clock"), "set the clock")


def test_no_time_zone_data(home, light, monkeypatch):
    monkeypatch.setattr(zoneinfo, "available_timezones", set)

    assert_trouble(finding(home, "Time zones"), "tzdata")


def test_broken_market(home, light, monkeypatch, tmp_path):
    (tmp_path / "shop.yaml").write_text("name: shop\nno_such_key: 1\n")
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path))

    assert_trouble(finding(home, "Markets"), "shop.yaml", "no_such_key")


def test_no_market_at_all(home, light, monkeypatch, tmp_path):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path))

    assert_trouble(finding(home, "Markets"), "no market in", "TRENDMILL_MARKETS")


def test_check_that_breaks_is_a_finding_and_the_others_still_answer(home, light, monkeypatch):
    def broken():
        raise RuntimeError("out of order")  # noqa: EM101, TRY003

    monkeypatch.setattr(doctor, "_clock", broken)

    findings = {found.name: found for found in doctor.diagnose(home)}

    assert_trouble(findings["Clock"], "RuntimeError: out of order")
    assert findings["Markets"].ok


def test_doctor_speaks_where_the_stack_is_missing():
    """It imports in a Python that has nothing but the standard library."""
    code = "import pipeline.doctor, sys; print('pydantic' in sys.modules, 'deltalake' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False"]
