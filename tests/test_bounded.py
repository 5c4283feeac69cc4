"""DuckDB puts aside on disk what it may not hold, leaves nothing there, and says so when there is no room."""

import errno
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from pipeline.bounded import bounded_duckdb, is_disk_full, listed, quoted

MORE_THAN_IT_MAY_HOLD = "CREATE TABLE t AS SELECT i, hash(i) AS h, hash(i)::VARCHAR AS s FROM range(2_000_000) r(i)"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_does_not_fit_is_put_aside_and_gone_in_the_end(temporary: Path) -> None:
    with bounded_duckdb(memory_limit="30MB") as connection:
        connection.execute(MORE_THAN_IT_MAY_HOLD)
        assert sum(file.stat().st_size for file in temporary.rglob("*.tmp")) > 1_000_000
        assert connection.sql("SELECT count(*), sum(i) FROM t").fetchall() == [(2_000_000, 1_999_999_000_000)]
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_given_is_used(tmp_path: Path, temporary: Path) -> None:
    with bounded_duckdb(tmp_path / "given", memory_limit="30MB") as connection:
        connection.execute(MORE_THAN_IT_MAY_HOLD)
        assert list((tmp_path / "given" / "spill").iterdir())
    assert list(temporary.iterdir()) == []


FULL = f"""
import resource
from pathlib import Path
from pipeline.bounded import bounded_duckdb

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
with bounded_duckdb(Path("here"), memory_limit="30MB") as connection:
    connection.execute("{MORE_THAN_IT_MAY_HOLD}")
"""


def test_no_room_is_the_systems_own_error(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.stderr.strip().splitlines()[-1] == "OSError: [Errno 28] No space left on device: 'here/spill'"


def test_no_room_is_an_error_of_the_system_too_where_duckdb_has_counted_it_itself() -> None:
    limited = f"SET max_temp_directory_size = '1MB'; {MORE_THAN_IT_MAY_HOLD}"
    with pytest.raises(OSError, match="No space left") as told, bounded_duckdb(memory_limit="30MB") as connection:
        connection.execute(limited)
    assert told.value.errno == errno.ENOSPC


def test_other_errors_are_duckdbs() -> None:
    with pytest.raises(duckdb.CatalogException), bounded_duckdb() as connection:
        connection.execute("SELECT * FROM nowhere")
    assert not is_disk_full(OSError(errno.EACCES, "No space left"))
    assert is_disk_full(OSError("File too large (os error 27)"))


def test_names_and_texts_are_quoted() -> None:
    assert quoted(["item", "date"]) == '"item", "date"'
    assert listed(["a", "b's"]) == "'a', 'b''s'"
    assert listed([]) == "NULL"
