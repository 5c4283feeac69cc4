"""What the benchmarks share: run a command as a whole process and read its seconds and its peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Measured", "measured"]


@dataclass(frozen=True)
class Measured:
    """What a whole process cost."""

    seconds: float
    peak_megabytes: float
    """Largest resident size of the process, as the kernel counted it."""
    output: str


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end and return what it cost; the benchmark ends with its output if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    return Measured(seconds, usage.ru_maxrss / 1024, output)
