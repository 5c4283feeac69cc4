"""The environment: made whole or not at all, recognised at once, and every refusal one sentence."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UV = shutil.which("uv") or str(ROOT / ".venv-tools" / "uv" / "bin" / "uv")  # where our own bootstrap found or put it
WITH_UV = f"{Path(UV).parent}{os.pathsep}{os.environ['PATH']}"

pytestmark = pytest.mark.slow

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "trendmill"
version = "0.0.0"
"""

BACKEND = '''
"""A build backend in forty lines: an editable wheel without a download."""
import zipfile


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    import pathlib
    folder = pathlib.Path(metadata_directory) / "trendmill-0.0.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: trendmill\\nVersion: 0.0.0\\n")
    return folder.name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "trendmill-0.0.0-py3-none-any.whl"
    info = "trendmill-0.0.0.dist-info"
    files = {
        "trendmill_probe.py": "answer = 42\\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: trendmill\\nVersion: 0.0.0\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)
    return name
'''


@pytest.fixture
def project(tmp_path):
    """Return a small project with our bootstrap and empty locks, which installs in a second and without a network."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "bootstrap.py", folder)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    for lock in ("requirements.txt", "requirements-dev.txt", "requirements-gpu.txt"):
        (folder / lock).write_text("")
    return folder


def bootstrap(project, *options, prelude=None, python=sys.executable, **variables):
    """Run the project's bootstrap; the prelude is code that runs before it in the same interpreter."""
    script = str(project / "bootstrap.py")
    run = f"import runpy, sys; sys.argv = {[script, *options]!r}; runpy.run_path({script!r}, run_name='__main__')"
    command = [python, script, *options] if prelude is None else [python, "-c", f"{prelude}\n{run}"]
    environment = os.environ | {"PATH": WITH_UV, "UV_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def stamp(project):
    return project / ".venv" / "trendmill-stamp.json"


def sentence_of(done):
    """Return the last line of a refusal, and check that it is one sentence without a traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_first_call_makes_a_byte_compiled_environment(project):
    done = bootstrap(project)

    assert done.returncode == 0, done.stderr
    python = project / ".venv" / "bin" / "python"
    probe = subprocess.run(
        [python, "-c", "import trendmill_probe as p; print(p.answer, p.__cached__)"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    answer, compiled = probe.stdout.split()
    assert answer == "42"
    assert Path(compiled).exists()
    assert json.loads(stamp(project).read_text())["variant"] == "cpu"


def test_second_call_does_nothing_at_once(project):
    bootstrap(project, "--dev")
    made = stamp(project).stat()

    seconds = []
    for options in (["--dev"], [], ["--dev"]):
        started = time.perf_counter()
        done = bootstrap(project, *options)
        seconds.append(time.perf_counter() - started)
        assert (done.returncode, done.stderr) == (0, "")

    assert stamp(project).stat().st_mtime_ns == made.st_mtime_ns
    assert min(seconds) < 1


def test_changed_lock_brings_the_environment_up_to_date_in_place(project):
    bootstrap(project, "--dev")
    python = (project / ".venv" / "pyvenv.cfg").stat().st_ino
    (project / "requirements-dev.txt").write_text("# changed\n")

    done = bootstrap(project)

    assert done.returncode == 0, done.stderr
    assert (project / ".venv" / "pyvenv.cfg").stat().st_ino == python
    assert set(json.loads(stamp(project).read_text())["digests"]) == {
        "requirements.txt",
        "requirements-dev.txt",
        "pyproject.toml",
    }


def test_gpu_environment_also_serves_calls_that_do_not_ask_for_it(project):
    bootstrap(project)
    done = bootstrap(project, "--gpu")
    assert "environment is ready" in done.stderr
    assert json.loads(stamp(project).read_text())["variant"] == "gpu"

    assert bootstrap(project).stderr == ""


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_failing_installation_leaves_no_stamp_and_says_where_the_log_is(project, lock):
    (project / lock).write_text("./missing-1.0-py3-none-any.whl\n")

    done = bootstrap(project, "--dev")

    sentence = sentence_of(done)
    assert sentence.startswith("Installing and byte-compiling the locked packages failed (")
    assert str(project / ".venv-tools" / "install.log") in sentence
    assert "missing-1.0" in (project / ".venv-tools" / "install.log").read_text()
    assert not (project / ".venv").exists()

    (project / lock).write_text("")
    assert bootstrap(project, "--dev").returncode == 0
    assert stamp(project).exists()


def test_environment_without_a_stamp_is_made_anew(project):
    bootstrap(project)
    stamp(project).unlink()
    leftover = project / ".venv" / "half-written"
    leftover.touch()

    assert bootstrap(project).returncode == 0
    assert stamp(project).exists()
    assert not leftover.exists()


def test_moved_project_gets_a_new_environment(project):
    bootstrap(project)
    moved = project.with_name("moved")
    project.rename(moved)

    assert bootstrap(moved).returncode == 0
    assert json.loads(stamp(moved).read_text())["root"] == str(moved)
    assert str(moved) in (moved / ".venv" / "bin" / "activate").read_text()


def test_two_calls_at_once_install_once(project):
    command = [sys.executable, str(project / "bootstrap.py")]
    environment = os.environ | {"PATH": WITH_UV, "UV_OFFLINE": "1"}
    calls = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [call.communicate(timeout=120)[1] for call in calls]

    assert [call.returncode for call in calls] == [0, 0, 0], said
    assert sum("The environment is ready" in text for text in said) == 1


def test_full_disk_is_one_sentence(project):
    full = "import shutil, collections\nshutil.disk_usage = lambda p: collections.namedtuple('U', 'free')(1.2e9)"

    sentence = sentence_of(bootstrap(project, prelude=full))

    assert "has 1.2 GB free, but the installation needs about 4 GB" in sentence
    assert not (project / ".venv").exists()


def test_disk_that_fills_up_during_the_installation_is_named(project):
    uv = project / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "uv 1" && exit 0\n'
        'echo "error: failed to copy: No space left on device (os error 28)"; exit 2\n'
    )
    uv.chmod(0o755)

    done = bootstrap(project, PATH=f"{uv.parent}:{os.environ['PATH']}")

    assert "failed (the disk is full); the log is" in sentence_of(done)


@pytest.mark.parametrize("version", [(3, 8, 10), (3, 10, 14), (3, 14, 0)])
def test_unsupported_python_without_another_is_one_sentence(project, version):
    old = f"import sys\nsys.version_info = {version}\nsys.version = '{'.'.join(map(str, version))} (main)'"

    sentence = sentence_of(bootstrap(project, prelude=old, PATH=str(project)))

    assert sentence.startswith("Trendmill needs CPython 3.11, 3.12 or 3.13 (64 bit), but ")
    assert f"is Python {version[0]}.{version[1]}" in sentence


def test_unsupported_python_passes_over_dead_shims_to_one_that_starts(project):
    shims = project / "shims"
    shims.mkdir()
    (shims / "python3.13").write_text("#!/bin/sh\necho 'command not found' >&2; exit 127\n")
    (shims / "python3.12").write_text("#!/bin/sh\necho 3 9 cpython 9223372036854775807\n")
    (shims / "python3.11").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for shim in shims.iterdir():
        shim.chmod(0o755)
    (shims / "uv").symlink_to(UV)
    old = "import sys\nsys.version_info = (3, 8, 10)"

    done = bootstrap(project, prelude=old, PATH=f"{shims}:/usr/bin:/bin")

    assert done.returncode == 0, done.stderr
    assert f"Using {shims / 'python3.11'}" in done.stderr
    assert stamp(project).exists()


def test_no_way_to_uv_is_one_sentence(project):
    poor = project / "poor"
    poor.mkdir()
    python = poor / "python3"
    python.write_text(f"""#!/bin/sh
case "$*" in
  *venv*) echo "The virtual environment was not created successfully because ensurepip is not available." ; exit 1 ;;
  *pip*) echo "No module named pip" ; exit 1 ;;
esac
exec "{sys.executable}" "$@"
""")
    python.chmod(0o755)
    seam = f"import sys\nsys.executable = {str(python)!r}"

    sentence = sentence_of(bootstrap(project, prelude=seam, PATH=f"{poor}:/usr/bin:/bin"))

    assert sentence.startswith("uv, which installs the packages, is not on PATH, and ")
    assert "apt install python3-venv" in sentence
    assert not stamp(project).exists()


def test_settings_of_another_environment_do_not_lead_astray(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"

    done = bootstrap(project, VIRTUAL_ENV=str(elsewhere), UV_PYTHON="3.99", UV_SYSTEM_PYTHON="1")

    assert done.returncode == 0, done.stderr
    assert not elsewhere.exists()


def test_terminated_call_leaves_neither_stamp_nor_installer(project):
    uv = project / "bin" / "uv"
    uv.parent.mkdir()
    started = project / "started"
    uv.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "uv 1" && exit 0\necho $$ > {started}.part\n'
        f"mv {started}.part {started}\nexec sleep 60\n"
    )
    uv.chmod(0o755)
    call = subprocess.Popen(
        [sys.executable, str(project / "bootstrap.py")],
        env=os.environ | {"PATH": f"{uv.parent}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    call.terminate()
    call.communicate(timeout=30)

    assert call.returncode == 143
    assert not stamp(project).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_bootstrap_keeps_to_words_that_an_old_python_parses():
    import ast

    ast.parse((ROOT / "bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 4))
