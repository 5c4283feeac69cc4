"""Ports on the loopback address."""

import socket

from pipeline.engine.errors import EngineError
from pipeline.engine.settings import LOOPBACK

__all__ = ["choose_port", "free_port"]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def choose_port(wanted: int | None, preferred: int, option: str) -> int:
    """Return the wanted port, or else the preferred one if it is free, or else any free one.

    Raises:
        EngineError: if a port was asked for and is taken.
    """
    if wanted is not None:
        if not _is_free(wanted):
            msg = f"Port {wanted} on {LOOPBACK} is taken by another program; give another one by {option}."
            raise EngineError(msg)
        return wanted
    return preferred if _is_free(preferred) else free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
