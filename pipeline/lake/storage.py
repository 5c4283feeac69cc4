"""Where tables lie: a local folder or an object store, which may not answer."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, FileSystem, FileType, PyFileSystem

from pipeline.bounded import is_disk_full
from pipeline.errors import LakeUnavailableError, StageError

__all__ = ["is_remote", "masked", "storage_options", "table_names", "unless_full", "unless_silent"]

_RETRIES = {"max_retries": "5", "retry_timeout": "30s", "connect_timeout": "5s", "timeout": "120s"}
"""Beyond these a store counts as silent; Airflow's retries have more patience."""

_TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"(\w+://[^\s?'\"]*)\?[^\s'\"]*")
_SPILLED = ("trendmill-duckdb-", "duckdb_temp", "max_temp_directory_size")
"""Signs that it was no table's file that found no room, but what a query puts aside."""


def is_remote(root: str) -> bool:
    """Return whether a root is an object store's URL rather than a local folder."""
    return "://" in root and not root.startswith("file://")


def storage_options(root: str) -> dict[str, str] | None:
    """Return how a root's store is talked to; who we are comes from the environment alone (`AWS_*` and its like)."""
    return dict(_RETRIES) if is_remote(root) else None


def table_names(root: str) -> tuple[str, ...]:
    """Return the names of all tables below a root, sorted."""
    if not is_remote(root) and not Path(root).is_dir():
        return ()
    files = PyFileSystem(DeltaStorageHandler(root, storage_options(root)))
    return tuple(sorted(_tables_below(files, "")))


def _tables_below(files: FileSystem, folder: str) -> Iterator[str]:
    """Walk down to the folders that hold a log; nothing below them is listed."""
    below = [found.path for found in files.get_file_info(FileSelector(folder)) if found.type == FileType.Directory]
    if any(path.rpartition("/")[2] == "_delta_log" for path in below):
        yield folder
        return
    for path in below:
        yield from _tables_below(files, path)


@contextmanager
def unless_silent(root: str) -> Iterator[None]:
    """Turn whatever the libraries raise when an object store does not answer into one sentence.

    Raises:
        LakeUnavailableError: if the store cannot be reached, or refuses us.
    """
    try:
        yield
    except (CommitFailedError, TableNotFoundError):
        raise
    except (OSError, DeltaError, duckdb.Error) as exc:
        if not is_remote(root) or not _comes_from_the_store(exc):
            raise
        msg = f"The lake at {masked(root)} does not answer ({_cause(exc)}); check its address, keys and network."
        raise LakeUnavailableError(msg) from exc


@contextmanager
def unless_full(table: str, root: str) -> Iterator[None]:
    """Turn whatever the libraries raise when a disk is full into one sentence that says which.

    Raises:
        StageError: if there is no room for a table's files, or for what a query over it puts aside.
    """
    try:
        yield
    except (OSError, DeltaError, duckdb.Error, pa.ArrowException) as exc:
        if not is_disk_full(exc):
            raise
        if any(sign in str(exc) for sign in _SPILLED):
            where = f"needs more room in {gettempdir()} than there is, to put rows aside"
            way_out = "make room there, or let TMPDIR name a folder that has it"
        else:
            where, way_out = f"cannot be written to {masked(root)}", "make room there"
        msg = f"The table '{table}' {where} ({_no_room(exc)}); {way_out}, and run this stage again."
        raise StageError(msg) from exc


def _no_room(exc: BaseException) -> str:
    """Return how the system names it that there is no room."""
    number = exc.errno if isinstance(exc, OSError) and exc.errno is not None else errno.ENOSPC
    return os.strerror(number)


def _comes_from_the_store(exc: BaseException) -> bool:
    """Tell a store's errors from this machine's own, such as a full disk, which carry a number."""
    if isinstance(exc, OSError):
        return exc.errno is None
    return "Generic" in str(exc) or "error sending request" in str(exc)


def _cause(exc: BaseException) -> str:
    """Return the first and the last of the reasons that the library lists, one below the other."""
    lines = [line.strip(" ↳\t") for line in _TERMINAL_COLOURS.sub("", str(exc)).splitlines()]
    told = [line for line in lines if line]
    return masked(": ".join(dict.fromkeys([told[0], told[-1]]))) if told else type(exc).__name__


def masked(text: str) -> str:
    """Return a text without the credentials and the query strings of the URLs in it."""
    return _QUERY.sub(r"\1?...", _CREDENTIALS.sub("***@", text))
