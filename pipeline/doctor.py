"""Doctor: what is wrong with this installation, and the way out of each trouble.

It imports as little as it can, because it must speak where something is missing.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.cycle import Home

__all__ = ["Finding", "diagnose"]

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
FREE_DISK_GB_NEEDED = 2
FREE_MEMORY_GB_NEEDED = 4
TENSORFLOW_TIMEOUT_SECONDS = 180
LOOPBACK_TIMEOUT_SECONDS = 5

_ROOT = Path(__file__).resolve().parent.parent
_COMPILED_PACKAGES = ("airflow", "mlflow", "great_expectations", "pandas")
_REINSTALL = "run `make clean` and then `make run`, which installs afresh"
_TENSORFLOW_PROBE = """
import json, time
started = time.perf_counter()
import tensorflow
seconds = time.perf_counter() - started
gpus = [gpu.name for gpu in tensorflow.config.list_physical_devices("GPU")]
cuda = bool(tensorflow.test.is_built_with_cuda())
print(json.dumps({"version": tensorflow.__version__, "seconds": seconds, "gpus": gpus, "cuda": cuda}))
"""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    ok: bool
    detail: str
    """What was seen, on one line."""
    remedy: str = ""
    """The way out, for a check that failed."""


def diagnose(home: "Home") -> list[Finding]:
    """Check the installation and the home; every check answers, whatever the others found."""
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("Python", lambda: [_python()]),
        ("Packages", lambda: [_packages()]),
        ("Bytecode", lambda: [_bytecode()]),
        ("Commands", lambda: [_commands()]),
        ("TensorFlow", _tensorflow_and_gpu),
        ("Home", lambda: [_home(home.path)]),
        ("Disk", lambda: [_disk(home.path)]),
        ("Memory", lambda: [_memory()]),
        ("Loopback", lambda: [_loopback()]),
        ("SQLite", lambda: [_sqlite(home.path)]),
        ("Clock", lambda: [_clock()]),
        ("Time zones", lambda: [_time_zones()]),
        ("Markets", lambda: [_markets()]),
    )
    return [finding for name, check in checks for finding in _answers(name, check)]


def _answers(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return [replace(finding, remedy="" if finding.ok else finding.remedy) for finding in check()]
    except Exception as exc:  # noqa: BLE001 - a check that breaks is itself a finding
        return [Finding(name, ok=False, detail=f"{type(exc).__name__}: {exc}", remedy=_REINSTALL)]


def _python() -> Finding:
    version = sys.version_info[:2]
    detail = f"{sys.version.split()[0]} at {sys.executable}"
    ok = OLDEST_PYTHON <= version <= NEWEST_PYTHON
    return Finding("Python", ok, detail, "install Python 3.11, 3.12 or 3.13 and run `make clean` and `make run`")


def _packages() -> Finding:
    lock = _lock_file()
    if lock is None:
        return Finding("Packages", ok=True, detail="no lock lies beside the package, so versions were not compared")
    wanted = dict(_locked_versions(lock))
    wrong = []
    for name, version in wanted.items():
        found = _installed_version(name)
        if found != version:
            wrong.append(f"{name} is {found or 'missing'} instead of {version}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004 - three tell enough
        return Finding("Packages", ok=False, detail=f"{'; '.join(wrong[:3])}{more}", remedy=_REINSTALL)
    return Finding("Packages", ok=True, detail=f"{len(wanted)} at the versions of {lock.name}")


def _lock_file() -> Path | None:
    gpu = _installed_version("tensorflow") is not None and _installed_version("tensorflow-cpu") is None
    files = [_ROOT / "requirements-gpu.txt"] if gpu and sys.platform == "linux" else []
    return next((file for file in [*files, _ROOT / "requirements.txt"] if file.exists()), None)


def _locked_versions(lock: Path) -> Iterator[tuple[str, str]]:
    from packaging.requirements import Requirement

    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.lstrip().startswith(("#", "-")):
            requirement = Requirement(line.split(" #")[0])
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement.name, next(iter(requirement.specifier)).version


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _bytecode() -> Finding:
    sources = [spec.origin for name in _COMPILED_PACKAGES if (spec := importlib.util.find_spec(name)) and spec.origin]
    plain = [source for source in sources if not Path(importlib.util.cache_from_source(source)).exists()]
    if plain:
        folder = Path(plain[0]).parent.parent
        remedy = f"run `{sys.executable} -m compileall -q {folder}`; until then every task starts several times slower"
        return Finding("Bytecode", ok=False, detail=f"{folder} is not byte-compiled", remedy=remedy)
    return Finding("Bytecode", ok=True, detail="the environment is byte-compiled")


def _commands() -> Finding:
    folder = Path(sys.executable).parent
    broken = [name for name in ("airflow", "mlflow") if not _starts(folder / name)]
    if broken:
        detail = f"{' and '.join(broken)} cannot be started from {folder}"
        return Finding("Commands", ok=False, detail=detail, remedy=_REINSTALL)
    return Finding("Commands", ok=True, detail=f"airflow and mlflow in {folder}")


def _starts(script: Path) -> bool:
    """Return whether the script is executable and so is its interpreter, which a moved environment has lost."""
    if not os.access(script, os.X_OK):
        return False
    with script.open("rb") as file:
        words = file.readline().decode("utf-8", "replace").removeprefix("#!").split()
    return bool(words) and os.access(words[0], os.X_OK)


def _tensorflow_and_gpu() -> list[Finding]:
    command = [sys.executable, "-c", _TENSORFLOW_PROBE]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
            timeout=TENSORFLOW_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        detail = f"no answer within {TENSORFLOW_TIMEOUT_SECONDS} s of `import tensorflow`"
        return [Finding("TensorFlow", ok=False, detail=detail, remedy="free memory and processors, then try again")]
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"`import tensorflow` ended with status {done.returncode}"]
        return [Finding("TensorFlow", ok=False, detail=lines[-1], remedy=_REINSTALL)]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    detail = f"{seen['version']} imported in {seen['seconds']:.1f} s"
    return [Finding("TensorFlow", ok=True, detail=detail), _gpu(seen["gpus"], built_with_cuda=seen["cuda"])]


def _gpu(gpus: list[str], *, built_with_cuda: bool) -> Finding:
    if gpus:
        return Finding("GPU", ok=True, detail=f"{len(gpus)} seen by TensorFlow")
    if built_with_cuda:
        remedy = "install the NVIDIA driver, or the CPU build with `make clean` and `make run`"
        return Finding("GPU", ok=False, detail="TensorFlow's CUDA build sees no GPU", remedy=remedy)
    if shutil.which("nvidia-smi"):
        return Finding(
            "GPU", ok=True, detail="not used: TensorFlow's CPU build is installed (`make run GPU=1` changes it)"
        )
    return Finding("GPU", ok=True, detail="none; the CPU does all the work")


def _home(home: Path) -> Finding:
    folder = _nearest_existing(home)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        remedy = f"give yourself the right to write to {folder}, or name another folder in TRENDMILL_HOME"
        return Finding("Home", ok=False, detail=f"{home} cannot be written ({exc.strerror})", remedy=remedy)
    return Finding("Home", ok=True, detail=f"{home}{'' if folder == home else ' (not made yet)'}")


def _disk(home: Path) -> Finding:
    free_gb = shutil.disk_usage(_nearest_existing(home)).free / 1e9
    remedy = f"free some: a cycle needs {FREE_DISK_GB_NEEDED} GB, or name a folder on another disk in TRENDMILL_HOME"
    return Finding("Disk", free_gb >= FREE_DISK_GB_NEEDED, f"{free_gb:.1f} GB free for {home}", remedy)


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _memory() -> Finding:
    import psutil

    free_gb = min(psutil.virtual_memory().available, _memory_left_to_this_group()) / 1e9
    remedy = f"end other programs: a cycle on the engine needs about {FREE_MEMORY_GB_NEEDED} GB"
    return Finding("Memory", free_gb >= FREE_MEMORY_GB_NEEDED, f"{free_gb:.1f} GB available", remedy)


def _memory_left_to_this_group() -> float:
    """Return the bytes that a container's limit leaves (cgroup v2); infinity where there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int((group / "memory.max").read_text()) - used + int(stat["inactive_file"])  # cached files give way
    except (OSError, ValueError, KeyError):
        return float("inf")


def _loopback() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(LOOPBACK_TIMEOUT_SECONDS)
            address = server.getsockname()
            with socket.create_connection(address, timeout=LOOPBACK_TIMEOUT_SECONDS) as client:
                client.sendall(b"night")
                with server.accept()[0] as received:
                    received.settimeout(LOOPBACK_TIMEOUT_SECONDS)
                    arrived = received.recv(5) == b"night"
    except OSError as exc:
        remedy = "let local programs talk over 127.0.0.1: the engine's parts do"
        return Finding("Loopback", ok=False, detail=f"127.0.0.1 cannot be used ({exc.strerror or exc})", remedy=remedy)
    return Finding("Loopback", arrived, "127.0.0.1 works" if arrived else "127.0.0.1 loses bytes", "mend the network")


def _sqlite(home: Path) -> Finding:
    folder = _nearest_existing(home)
    remedy = f"WAL needs a local disk: name a folder on one in TRENDMILL_HOME ({folder} is not)"
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            connection = sqlite3.connect(Path(scratch) / "probe.db")
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                connection.execute("CREATE TABLE probe (night TEXT)")
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as exc:
        return Finding("SQLite", ok=False, detail=f"a database in {folder} fails ({exc})", remedy=remedy)
    return Finding("SQLite", mode == "wal", f"{sqlite3.sqlite_version}, journal mode {mode} in {folder}", remedy)


def _clock() -> Finding:
    behind_days = (Path(__file__).stat().st_mtime - time.time()) / 86_400
    detail = time.strftime("%Y-%m-%d %H:%M %Z")
    return Finding("Clock", behind_days < 1, detail, "set the clock: it runs behind the files of this installation")


def _time_zones() -> Finding:
    count = len(zoneinfo.available_timezones())
    remedy = "install the package tzdata: `python -m pip install tzdata`"
    return Finding("Time zones", count > 0, f"{count} known" if count else "no time zone data", remedy)


def _markets() -> Finding:
    from pipeline.errors import ConfigError
    from pipeline.market import load_market, markets_dir

    files = sorted(markets_dir().glob("*.yaml"))
    if not files:
        remedy = "put a market's YAML there, or name the folder in TRENDMILL_MARKETS"
        return Finding("Markets", ok=False, detail=f"no market in {markets_dir()}", remedy=remedy)
    broken = []
    for file in files:
        try:
            load_market(str(file))
        except ConfigError as exc:
            broken.append(str(exc))
    if broken:
        return Finding("Markets", ok=False, detail=" ".join(broken), remedy="mend the file as its message says")
    return Finding("Markets", ok=True, detail=", ".join(file.stem for file in files))
