"""Guard one engine process: run it, and end it with all that came from it as soon as the supervisor is gone.

Started as a script of its own, so that it stays small and imports nothing of the engine:
`python -I guard.py GRACE_SECONDS COMMAND...`. Its standard input is a pipe whose other end only the supervisor holds.
However the supervisor ends (normally, by a signal, even by SIGKILL), the kernel closes that pipe, and the guard cleans
up. On Linux the guard adopts orphans (child subreaper), so nothing slips away by daemonising or by changing its
process group.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

import psutil

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_COMMAND_NOT_FOUND = 127


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the supervisor lets go; return the command's exit status."""
    grace_seconds, command = float(arguments[0]), arguments[1:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake_reader = _wake_on_signals()
    try:
        # The pre-exec hook is safe here: this process has one thread, and the library is already loaded.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)  # noqa: PLW1509
    except OSError as exc:
        sys.stderr.write(f"{command[0]} cannot be started: {exc.strerror}\n")
        return _COMMAND_NOT_FOUND
    status = _until_child_ends_or_released(child.pid, wake_reader)
    ended = _end_descendants(grace_seconds, child.pid)
    return _exit_code(status if status is not None else ended)


def _die_with_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


def _wake_on_signals() -> int:
    """Make SIGCHLD and SIGTERM readable on a pipe; return its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _noop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return reader


def _noop(_number: int, _frame: FrameType | None) -> None:
    """Stand in for the default action; the number itself arrives through the wake-up pipe."""


def _until_child_ends_or_released(child: int, wake_reader: int) -> int | None:
    """Return the child's wait status, or None when the supervisor has let go first."""
    while True:
        readable, _, _ = select.select([sys.stdin.fileno(), wake_reader], [], [])
        if wake_reader in readable:
            numbers = os.read(wake_reader, 4096)
            if (status := _reap().get(child)) is not None:
                return status
            if signal.SIGTERM in numbers or signal.SIGHUP in numbers:
                return None
        if sys.stdin.fileno() in readable and not os.read(sys.stdin.fileno(), 4096):
            return None


def _reap() -> dict[int, int]:
    """Collect every ended child, adopted ones too; return their wait statuses by process id."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def _end_descendants(grace_seconds: float, child: int) -> int | None:
    """Ask every descendant to end, insist after the grace; return the child's wait status if it ended here."""
    ended: dict[int, int] = {}
    asked: set[int] = set()
    deadline = time.monotonic() + grace_seconds
    while True:
        ended |= _reap()
        living = psutil.Process().children(recursive=True)
        if not living:
            return ended.get(child)
        insist = time.monotonic() > deadline
        for process in living:
            if insist or process.pid not in asked:
                asked.add(process.pid)
                _send(process, signal.SIGKILL if insist else signal.SIGTERM)
        time.sleep(0.05)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _exit_code(status: int | None) -> int:
    if status is None:
        return 0
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
