"""Ports on the loopback address."""

import socket
from collections.abc import Collection

from pipeline.engine.errors import EngineError
from pipeline.engine.settings import LOOPBACK

__all__ = ["choose_port", "free_port"]


def free_port(spared: Collection[int] = ()) -> int:
    """Return a port that nothing listens on, and none of the spared ones."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in spared:
            return port


def choose_port(wanted: int | None, preferred: int, option: str, spared: Collection[int] = ()) -> int:
    """Return the wanted port, or else the preferred one if it is free, or else any free one.

    Args:
        wanted: the port that was asked for.
        preferred: the port to take if none was.
        option: the option by which a port is asked for.
        spared: ports that are meant for something else, though nothing may listen on them yet.

    Raises:
        EngineError: if a port was asked for and is taken or spared.
    """
    if wanted is not None:
        if wanted in spared:
            msg = f"Port {wanted} cannot serve both Airflow and MLflow; give another one by {option}."
            raise EngineError(msg)
        if not _is_free(wanted):
            msg = f"Port {wanted} on {LOOPBACK} is taken by another program; give another one by {option}."
            raise EngineError(msg)
        return wanted
    return preferred if preferred not in spared and _is_free(preferred) else free_port(spared)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
