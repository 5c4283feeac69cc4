"""One engine a home: a lock that the kernel drops with its owner, and a note of what the owner started."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.engine.errors import EngineError

__all__ = ["HomeLock", "Tenant"]


@dataclass(frozen=True)
class Tenant:
    """The engine that lives, or lived, in a home."""

    pid: int
    engine_id: str
    started: float
    """Seconds since 1970."""
    sessions: tuple[int, ...] = ()
    """Ids of the sessions of its processes."""
    let_go: str = ""
    """The DAG that it has let go and must pause again at its end; empty if there is none."""


class HomeLock:
    """Keeps a second engine out of a home.

    The lock itself ends with the process that holds it, so it cannot go stale; only the note of its owner can, and
    tells then which processes to look for.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "engine.lock"
        self._descriptor = -1
        self._keeps_note = False

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            EngineError: if another engine holds it.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            tenant = self._read()
            owner = f"process {tenant.pid}" if tenant else "another process"
            msg = f"An engine already runs in {self._home} ({owner}); stop it first, or set TRENDMILL_HOME elsewhere."
            raise EngineError(msg) from exc
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the note, unless it shall stay, and drop the lock."""
        if not self._keeps_note:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def left_over(self) -> Tenant | None:
        """Return the earlier engine that did not end in good order, if there is one."""
        return self._read()

    def note(self, tenant: Tenant) -> None:
        """Write down who holds the lock and what it started."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(asdict(tenant)).encode(), 0)

    def keep_note(self) -> None:
        """Let the note stay at the end: the next engine has something to put right."""
        self._keeps_note = True

    def _read(self) -> Tenant | None:
        try:
            note = json.loads(self._file.read_text(encoding="utf-8"))
            return Tenant(
                pid=int(note["pid"]),
                engine_id=str(note["engine_id"]),
                started=float(note["started"]),
                sessions=tuple(note["sessions"]),
                let_go=str(note.get("let_go", "")),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
