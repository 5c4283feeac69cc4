#!/usr/bin/env python3
"""Create the environment `.venv` from the locks: `python3 bootstrap.py [--dev] [--gpu]`.

A whole environment is recognised by its stamp, so that a second call does nothing and takes no time. The stamp is
written last: what an interruption leaves behind has none and is made anew. This file needs the standard library alone,
and keeps to words that an old Python 3 parses too, so that it can say which Python is needed.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

OLDEST, NEWEST = (3, 11), (3, 13)
PYTHON_NEEDED = "Trendmill needs CPython 3.11, 3.12 or 3.13 (64 bit)"
FREE_GB_NEEDED = {"cpu": 4, "gpu": 10}
UV_NEEDED = "uv>=0.8"
QUIET_LINE_SECONDS = 15

ROOT = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "trendmill-stamp.json")
TOOLS = os.path.join(ROOT, ".venv-tools")
LOG = os.path.join(TOOLS, "install.log")

LOCK_OF = {"cpu": "requirements.txt", "gpu": "requirements-gpu.txt", "dev": "requirements-dev.txt"}
COMPILED_LOCKS = (
    # lock, source, options beside the common ones
    ("requirements.txt", "requirements.in", ()),
    ("requirements-dev.txt", "requirements-dev.in", ()),
    (
        "requirements-gpu.txt",
        "requirements-gpu.in",
        ("--no-emit-package", "tensorflow-cpu", "--constraint", "requirements.txt"),
    ),
)
# What an activated environment or a user's settings would otherwise decide for us.
FOREIGN_VARIABLES = (
    "CONDA_PREFIX",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "VIRTUAL_ENV",
)


class BootstrapError(Exception):
    """The sentence that tells why there is no environment and what to do."""


def main(arguments):
    """Bring the environment up to date and return the exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.lock:
            use_supported_python(arguments)
            with exclusive() as lock:
                compile_locks(find_uv(lock), lock, options.upgrade)
        elif not is_whole(options.dev, options.gpu):
            use_supported_python(arguments)
            with exclusive() as lock:
                if not is_whole(options.dev, options.gpu):
                    install(options.dev, options.gpu, lock)
    except BootstrapError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next call starts afresh.")
        return 130
    return 0


def parse(arguments):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Create the environment .venv from the locks.")
    parser.add_argument("--dev", action="store_true", help="with what the tests and linters need")
    parser.add_argument("--gpu", action="store_true", help="with TensorFlow's CUDA build (Linux, NVIDIA)")
    parser.add_argument("--lock", action="store_true", help="write the locks from requirements*.in instead")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: take the newest versions allowed")
    return parser.parse_args(arguments)


def is_whole(dev, gpu):
    """Return whether the environment's stamp says that it holds what is asked for."""
    stamp = read_stamp()
    if stamp is None or (gpu and stamp["variant"] != "gpu"):
        return False
    files = locks_of(stamp["variant"], dev or "requirements-dev.txt" in stamp["digests"]) + ["pyproject.toml"]
    return stamp["digests"] == digests(files)


def read_stamp():
    """Return the stamp of a whole environment that still stands where it was made, else None."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return None
    library = os.path.join(VENV, "lib", "python" + stamp["python"])
    stands = stamp["root"] == ROOT and os.path.exists(venv_python()) and os.path.isdir(library)
    return stamp if stands else None


def locks_of(variant, dev):
    """Return the names of the locks that make up an environment."""
    return [LOCK_OF[variant]] + ([LOCK_OF["dev"]] if dev else [])


def digests(names):
    """Return each file's digest by its name."""
    return {name: hashlib.sha256(read_bytes(os.path.join(ROOT, name))).hexdigest() for name in names}


def read_bytes(path):
    """Return a file's content."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        message = "{} cannot be read ({}); restore it from the repository."
        raise BootstrapError(message.format(path, exc.strerror)) from exc


def venv_python():
    """Return the environment's interpreter."""
    return os.path.join(VENV, "bin", "python")


def use_supported_python(arguments):
    """Return if this interpreter is a supported one; else start again under one from PATH."""
    if is_supported(sys.version_info[:2], sys.implementation.name, sys.maxsize):
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        python = shutil.which("python3.{}".format(minor))
        if python and really_starts(python):
            say("Using {} ({}; this one is {}).".format(python, PYTHON_NEEDED, sys.version.split()[0]))
            os.execv(python, [python, os.path.abspath(__file__)] + list(arguments))  # noqa: S606 - no shell is wanted
    message = (
        "{}, but {} is Python {} and none of them starts from PATH: install one, or name yours "
        "with `make run PYTHON=/path/to/python3.12`."
    )
    raise BootstrapError(message.format(PYTHON_NEEDED, sys.executable, sys.version.split()[0]))


def is_supported(version, implementation, largest_size):
    """Return whether such an interpreter can run Trendmill."""
    return OLDEST <= tuple(version) <= NEWEST and implementation == "cpython" and largest_size > 2**32


def really_starts(python):
    """Return whether this interpreter starts and is a supported one: a shim on PATH may do neither."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1], sys.implementation.name, sys.maxsize)"
    try:
        major, minor, implementation, largest_size = output_of([python, "-c", code]).split()
    except ValueError:
        return False
    return is_supported((int(major), int(minor)), implementation, int(largest_size))


def output_of(command):
    """Return what a command prints, or nothing if it fails."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
        output = process.communicate()[0].decode("utf-8", "replace")
    except OSError:
        return ""
    return "" if process.returncode else output


def exclusive():
    """Return the lock file, held until it is closed: of two calls at once the second waits for the first."""
    try:
        os.makedirs(TOOLS, exist_ok=True)
        lock = open(os.path.join(TOOLS, "lock"), "w", encoding="utf-8")  # noqa: SIM115 - held by the caller
    except OSError as exc:
        message = "{} cannot be written ({}); make the folder writable, or copy the project to one that is."
        raise BootstrapError(message.format(TOOLS, exc.strerror)) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Another call is installing the environment; waiting for it.")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def install(dev, gpu, lock):
    """Make the environment hold what the locks say, and stamp it."""
    started = time.time()
    stamp = read_stamp()
    variant = "gpu" if gpu else (stamp["variant"] if stamp else "cpu")
    in_place = stamp is not None and stamp["variant"] == variant
    dev = dev or (in_place and LOCK_OF["dev"] in stamp["digests"])
    if stamp is None:
        shutil.rmtree(VENV, ignore_errors=True)
    check_free_disk(1 if in_place else FREE_GB_NEEDED[variant])
    locks = locks_of(variant, dev)
    wanted = digests(locks + ["pyproject.toml"])
    if os.path.exists(LOG):
        os.remove(LOG)
    uv = find_uv(lock)
    if in_place:
        os.remove(STAMP)
    else:
        shutil.rmtree(VENV, ignore_errors=True)
        attempt("Creating .venv", [uv, "venv", "--python", sys.executable, VENV], lock)
    try:
        into = ["--python", venv_python()]
        if not in_place or any(stamp["digests"].get(name) != wanted[name] for name in locks):
            sync = [uv, "pip", "sync", "--compile-bytecode"] + into + [os.path.join(ROOT, name) for name in locks]
            attempt("Installing and byte-compiling the locked packages", sync, lock)
        editable = ["--no-deps", "--reinstall-package", "trendmill", "--editable", ROOT]
        attempt("Installing trendmill itself", [uv, "pip", "install", "--compile-bytecode"] + into + editable, lock)
        version = "{}.{}".format(*venv_version())
        write_stamp({"root": ROOT, "python": version, "variant": variant, "digests": wanted})
    except BaseException:
        if not in_place:
            shutil.rmtree(VENV, ignore_errors=True)
        raise
    say("The environment is ready (Python {}, {:.0f} s).".format(version, time.time() - started))


def venv_version():
    """Return the environment's Python version: major, minor."""
    return output_of([venv_python(), "-c", "import sys; print(*sys.version_info[:2])"]).split()


def check_free_disk(needed_gb):
    """Refuse to start what cannot end: a half installation helps nobody."""
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < needed_gb:
        message = "The disk of {} has {:.1f} GB free, but the installation needs about {} GB: free some and call again."
        raise BootstrapError(message.format(ROOT, free_gb, needed_gb))


def write_stamp(stamp):
    """Write the stamp in one step, so that it is there as a whole or not at all."""
    part = STAMP + ".part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(stamp, file, indent=1)
    os.replace(part, STAMP)


def find_uv(lock):
    """Return a uv that starts: from PATH, or our own in `.venv-tools`, which is installed if need be."""
    private = os.path.join(TOOLS, "uv")
    own = os.path.join(private, "bin", "uv")
    for uv in (shutil.which("uv"), own):
        if uv and output_of([uv, "--version"]):
            return uv
    pip = ["-m", "pip", "--disable-pip-version-check", "install", UV_NEEDED]
    environment_of_its_own = ("Creating .venv-tools/uv", [sys.executable, "-m", "venv", "--clear", private])
    ways = (
        (environment_of_its_own, ("Installing uv", [os.path.join(private, "bin", "python")] + pip)),
        (("Installing uv without an environment of its own", [sys.executable] + pip + ["--target", private]),),
    )
    for steps in ways:
        shutil.rmtree(private, ignore_errors=True)
        if all(run(title, command, lock) == 0 for title, command in steps) and output_of([own, "--version"]):
            return own
    shutil.rmtree(private, ignore_errors=True)
    message = (
        "uv, which installs the packages, is not on PATH, and {} could not install it{}: install uv, or on Debian and "
        "Ubuntu `apt install python3-venv`, and call again; the log is {}."
    )
    raise BootstrapError(message.format(sys.executable, cause(), LOG))


def compile_locks(uv, lock, upgrade):
    """Write each lock from its source, for every supported Python and platform."""
    for name, source, options in COMPILED_LOCKS:
        common = ["--universal", "--python-version", "3.11", "--no-emit-find-links", "--quiet", "--no-progress"]
        command = [uv, "pip", "compile"] + common + list(options) + [source, "--output-file", name]
        attempt("Writing " + name, command + (["--upgrade"] if upgrade else []), lock)


def attempt(title, command, lock):
    """Run a step and refuse to go on if it fails."""
    if run(title, command, lock) != 0:
        message = "{} failed{}; the log is {}, and the next call starts afresh."
        raise BootstrapError(message.format(title, cause(), LOG))


def run(title, command, lock):
    """Run a step with its progress on the terminal and its output in the log; return its exit status.

    The step inherits the lock, so that no other call starts while it lives, even when this process is killed.
    """
    with open(LOG, "ab") as log:
        log.write("$ {}\n".format(" ".join(command)).encode())
        log.flush()
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
                pass_fds=(lock.fileno(),),
            )
        except OSError as exc:
            log.write("{}\n".format(exc).encode())
            return 127
        progress = Progress(title)
        reader = threading.Thread(target=copy_lines, args=(process.stdout, log, progress))
        reader.start()
        try:
            while reader.is_alive():
                reader.join(0.2)
                progress.show()
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            reader.join()
        progress.close(status)
        return status


def copy_lines(stream, log, progress):
    """Copy a step's output to the log, and its last line to the progress."""
    for line in stream:
        log.write(line)
        log.flush()
        progress.last_line = line.decode("utf-8", "replace").strip() or progress.last_line


class Progress:
    """One line on a terminal that is rewritten; elsewhere a line now and then."""

    def __init__(self, title):
        self.title = title
        self.last_line = ""
        self.started = self.shown = time.time()
        self.rewrites = sys.stderr.isatty()
        if not self.rewrites:
            say("{} ...".format(title))

    def show(self):
        """Tell how long the step has been running and what it said last."""
        now = time.time()
        text = "{} ... {:.0f} s  {}".format(self.title, now - self.started, self.last_line)
        if self.rewrites:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\033[K" + text[:width])
            sys.stderr.flush()
        elif now - self.shown >= QUIET_LINE_SECONDS:
            self.shown = now
            say("  " + text)

    def close(self, status):
        """Leave one line that stays."""
        if self.rewrites:
            sys.stderr.write("\r\033[K")
            say("{}: {} in {:.0f} s".format(self.title, "failed" if status else "done", time.time() - self.started))


def cause():
    """Return what the log says about why a step failed, as ` (...)`, or nothing."""
    try:
        text = read_bytes(LOG).decode("utf-8", "replace")
    except BootstrapError:
        return ""
    if "No space left on device" in text or "os error 28" in text:
        return " (the disk is full)"
    if "os error 122" in text:
        return " (the disk quota is used up)"
    if any(sign in text for sign in ("dns error", "error sending request", "Temporary failure in name resolution")):
        return " (the package registry cannot be reached)"
    telling = [line.strip(" ×╰─▶") for line in text.splitlines() if line.strip() and not line.startswith("$ ")]
    errors = [line for line in telling if line.lower().startswith("error")]
    return " ({})".format((errors or telling)[-1].rstrip(".")) if telling else ""


def environment():
    """Return the variables for the steps: ours, less what would lead them elsewhere."""
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    variables["UV_PYTHON_DOWNLOADS"] = "never"
    variables["UV_CUSTOM_COMPILE_COMMAND"] = "make lock"
    if "PIP_INDEX_URL" in variables and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(variables):
        variables["UV_DEFAULT_INDEX"] = variables["PIP_INDEX_URL"]
    return variables


def say(sentence):
    """Print a line for the person who called."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
