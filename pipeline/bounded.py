"""DuckDB with bounded memory: what does not fit is put aside on disk, and gone when the work is over."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

__all__ = ["DISK_FULL", "MEMORY_LIMIT", "bounded_duckdb", "is_disk_full", "listed", "quoted"]

MEMORY_LIMIT = "1GB"
"""What DuckDB may hold, unless told otherwise, before it puts rows aside on disk."""

DISK_FULL = ("No space left", "File too large", "quota exceeded", "max_temp_directory_size")
"""How libraries whose errors have no number say that there is no room."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def bounded_duckdb(
    folder: Path | None = None, *, memory_limit: str = MEMORY_LIMIT, any_order: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database of its own in memory, which puts aside on disk what does not fit.

    Args:
        folder: where rows are put aside, in a folder `spill`; without one, in a temporary folder that is gone in the
            end.
        memory_limit: what the database may hold of its rows.
        any_order: whether answers without ORDER BY may come in any order, which takes less memory.

    Raises:
        OSError: ENOSPC, with the folder's name, if there is no room for what is put aside.
    """
    with _spill_folder(folder) as spill:
        settings = {
            "memory_limit": memory_limit,
            "temp_directory": str(spill),
            "preserve_insertion_order": not any_order,
        }
        try:
            with duckdb.connect(config=settings) as connection:
                yield connection
        except duckdb.Error as exc:
            if is_disk_full(exc):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(spill)) from exc
            raise


def is_disk_full(exc: BaseException) -> bool:
    """Return whether an error says that there is no room on a disk, by its number or by its text."""
    if isinstance(exc, OSError) and exc.errno is not None:
        return exc.errno in _NO_ROOM
    return any(sign in str(exc) for sign in DISK_FULL)


def quoted(names: Iterable[str]) -> str:
    """Return columns' names for SQL."""
    return ", ".join(f'"{name}"' for name in names)


def listed(texts: Iterable[str]) -> str:
    """Return texts as SQL's literals; NULL, which equals none, where there are none."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts) or "NULL"


@contextmanager
def _spill_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        spill = folder / "spill"
        spill.mkdir(parents=True, exist_ok=True)
        yield spill
        return
    with TemporaryDirectory(prefix="trendmill-duckdb-") as temporary:
        yield Path(temporary)
