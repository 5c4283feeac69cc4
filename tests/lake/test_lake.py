"""The lake's promises, in a folder and in an object store: whole versions, fenced attempts, idempotent commits."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from pipeline.errors import FencedError, LakeUnavailableError, StageError
from pipeline.lake import Lake

DAY = date(2021, 3, 1)


def rows(*units: float) -> pa.Table:
    return pa.table({"item": [f"i{number}" for number in range(len(units))], "units": [float(unit) for unit in units]})


def units(lake: Lake, cycle: date = DAY) -> list[float]:
    return sorted(lake.read("t", cycle=cycle)["units"].to_pylist())


def test_commit_replaces_the_owners_rows_and_no_others(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1, 2))
    lake.attempt("t", cycle=DAY + timedelta(days=1)).commit(rows(3))
    lake.attempt("t", cycle=DAY).commit(rows(4))
    assert units(lake) == [4]
    assert sorted(lake.read("t")["units"].to_pylist()) == [3, 4]


def test_owners_of_one_file_are_told_apart(lake: Lake) -> None:
    for feed in ("sales", "stock"):
        lake.attempt("t", cycle=DAY, feed=feed).commit(rows(1, 2))
    lake.open("t").optimize.compact()
    lake.attempt("t", cycle=DAY, feed="stock").commit(rows(7))
    assert lake.read("t", feed="sales")["units"].to_pylist() == [1, 2]
    assert lake.read("t", feed="stock")["units"].to_pylist() == [7]


def test_equal_rows_are_not_written_again_in_whatever_order_they_come(lake: Lake) -> None:
    first = lake.attempt("t", cycle=DAY).commit(rows(1, 2))
    again = lake.attempt("t", cycle=DAY).commit(rows(1, 2).take([1, 0]))
    assert first.changed
    assert not again.changed
    assert again.version == first.version == lake.version("t")
    assert lake.open("t").file_uris() == lake.open("t", first.version).file_uris()


@pytest.mark.parametrize(
    "other", [rows(2, 1), rows(1, 1, 2), rows(1), rows(1, float("nan")), rows(1, 2).rename_columns(["units", "item"])]
)
def test_rows_that_differ_in_anything_are_written(tmp_path: Path, other: pa.Table) -> None:
    lake = Lake(str(tmp_path))
    lake.attempt("t", cycle=DAY).commit(pa.table({"item": ["i0", "i1"], "units": ["1", "2"]}))
    texts = pa.table({name: [str(value) for value in other[name].to_pylist()] for name in other.column_names})
    assert lake.attempt("t", cycle=DAY).commit(texts).changed


def test_stale_attempt_is_refused_and_leaves_the_newer_rows(lake: Lake) -> None:
    stale = lake.attempt("t", cycle=DAY)
    lake.attempt("t", cycle=DAY).commit(rows(1))
    with pytest.raises(FencedError, match="stale"):
        stale.commit(rows(2))
    assert units(lake) == [1]


@pytest.mark.parametrize("newer", [rows(1), rows()])
def test_attempt_is_stale_too_if_the_newer_one_found_its_rows_there(lake: Lake, newer: pa.Table) -> None:
    lake.attempt("t", cycle=DAY).commit(newer)
    stale = lake.attempt("t", cycle=DAY)
    assert not lake.attempt("t", cycle=DAY).commit(newer).changed
    with pytest.raises(FencedError, match="stale"):
        stale.commit(rows(2))
    assert lake.read("t", cycle=DAY).num_rows == newer.num_rows


def test_stale_attempt_that_would_change_nothing_is_refused_as_well(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1))
    stale = lake.attempt("t", cycle=DAY)
    lake.attempt("t", cycle=DAY).commit(rows(2))
    lake.attempt("t", cycle=DAY).commit(rows(1))
    with pytest.raises(FencedError, match="stale"):
        stale.commit(rows(1))


@pytest.mark.parametrize("newer", [rows(1), rows(5)])
def test_attempt_overtaken_between_its_check_and_its_write_is_refused(
    lake: Lake, tmp_path: Path, newer: pa.Table
) -> None:
    """The rows of the slow attempt are files; another attempt commits at the moment in which they are read."""
    pq.write_table(rows(2, 3), tmp_path / "rows.parquet")
    lake.attempt("t", cycle=DAY).commit(rows(1))
    slow, quick = lake.attempt("t", cycle=DAY), lake.attempt("t", cycle=DAY)
    reads = []

    def overtaken(path: str) -> None:
        reads.append(path)
        if len(reads) == 3:  # those before are the schema's and the count's
            quick.commit(newer)

    with pytest.raises(FencedError, match="stale"):
        slow.commit(dataset_watched_by(overtaken, tmp_path / "rows.parquet"))
    assert len(reads) >= 3
    assert units(lake) == sorted(newer["units"].to_pylist())


def dataset_watched_by(watcher: Callable[[str], None], file: Path) -> ds.Dataset:
    class Watched(LocalFileSystem):
        cachable = False

        def _open(self, path, *arguments, **named):
            watcher(path)
            return super()._open(path, *arguments, **named)

    return ds.dataset(str(file), filesystem=PyFileSystem(FSSpecHandler(Watched())))


def test_of_many_attempts_at_once_for_one_owner_exactly_one_commits(lake: Lake) -> None:
    outcomes = _at_once([(lake.attempt("t", cycle=DAY), rows(*range(size + 1))) for size in range(4)])
    assert sorted(outcomes) == ["FencedError"] * 3 + ["committed"]
    assert lake.read("t", cycle=DAY).num_rows in {1, 2, 3, 4}


def test_of_many_attempts_at_once_that_change_nothing_exactly_one_counts(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1))
    outcomes = _at_once([(lake.attempt("t", cycle=DAY), rows(1)) for _ in range(4)])
    assert sorted(outcomes) == ["FencedError"] * 3 + ["committed"]
    assert units(lake) == [1]


def test_attempts_at_once_for_different_owners_all_commit_even_into_a_new_table(lake: Lake) -> None:
    attempts = [(lake.attempt("t", cycle=DAY + timedelta(days=shift)), rows(shift)) for shift in range(4)]
    assert _at_once(attempts) == ["committed"] * 4
    assert sorted(lake.read("t")["units"].to_pylist()) == [0, 1, 2, 3]


def _at_once(attempts: list) -> list[str]:
    start, outcomes = Barrier(len(attempts)), []

    def work(attempt, table) -> None:
        start.wait()
        try:
            attempt.commit(table)
            outcomes.append("committed")
        except FencedError as exc:
            outcomes.append(type(exc).__name__)

    threads = [Thread(target=work, args=pair) for pair in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_readers_see_a_whole_version_while_it_is_replaced(lake: Lake) -> None:
    """Each commit writes one number ten times: whoever saw half a commit would see two numbers."""
    lake.attempt("t", cycle=DAY).commit(rows(*[0] * 10))
    opened, ended = lake.open("t"), Event()

    def replace() -> None:
        for number in range(1, 5):
            lake.attempt("t", cycle=DAY).commit(rows(*[number] * 10))
        ended.set()

    writer = Thread(target=replace)
    writer.start()
    seen = []
    while not ended.is_set() or not seen:
        seen.append(lake.read("t")["units"].to_pylist())
    writer.join()
    assert all(len(read) == 10 and len(set(read)) == 1 for read in seen)
    assert opened.to_pyarrow_table()["units"].to_pylist() == [0] * 10
    assert units(lake) == [4] * 10


def test_empty_rows_make_an_empty_table_that_can_be_read(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows())
    assert lake.read("t", cycle=DAY).num_rows == 0


def test_a_column_that_is_new_is_empty_in_older_rows_and_may_be_missing_again(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY, feed="sales").commit(rows(1))
    lake.attempt("t", cycle=DAY, feed="stock").commit(rows(2).append_column("note", pa.array(["new"])))
    lake.attempt("t", cycle=DAY, feed="prices").commit(rows(3))
    lake.attempt("t", cycle=DAY, feed="prices").commit(rows(4))
    lake.attempt("t", cycle=DAY, feed="sales").commit(rows(1).append_column("more", pa.array([5])))
    notes = {row["units"]: row["note"] for row in lake.read("t").to_pylist()}
    assert notes == {1: None, 2: "new", 4: None}
    assert sorted(lake.read("t")["more"].to_pylist(), key=str) == [5, None, None]


def test_files_are_committed_as_a_table_would_be_and_recognised_again(lake: Lake, tmp_path: Path) -> None:
    for part, numbers in enumerate([(3, 1), (2,)]):
        pq.write_table(rows(*numbers), tmp_path / f"{part}.parquet")
    given = ds.dataset([str(tmp_path / f"{part}.parquet") for part in range(2)])
    assert lake.attempt("t", cycle=DAY).commit(given).changed
    assert units(lake) == [1, 2, 3]
    assert not lake.attempt("t", cycle=DAY).commit(given).changed
    assert not lake.attempt("t", cycle=DAY).commit(given.to_table()).changed


@pytest.mark.parametrize("as_files", [False, True])
def test_facts_lie_sorted_by_their_day(tmp_path: Path, *, as_files: bool) -> None:
    days = [DAY + timedelta(days=shift) for shift in (3, 1, 2, 0)]
    facts = pa.table({"item": list("abcd"), "date": days, "units": [1.0] * 4})
    pq.write_table(facts, tmp_path / "facts.parquet")
    lake = Lake(str(tmp_path))
    lake.attempt("facts/sales", cycle=DAY).commit(ds.dataset(tmp_path / "facts.parquet") if as_files else facts)
    (file,) = lake.open("facts/sales").file_uris()
    assert pq.read_table(file, partitioning=None)["date"].to_pylist() == sorted(days)


def test_provenance_stands_in_the_tables_history(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1), **{"trendmill.version": "9.9"})
    assert lake.open("t").history(1)[0]["trendmill.version"] == "9.9"


def test_tables_are_found_by_name(lake: Lake) -> None:
    assert lake.tables() == ()
    for table in ("facts/sales", "batches"):
        lake.attempt(table, cycle=DAY).commit(rows(1))
    assert lake.tables() == ("batches", "facts/sales")
    assert [lake.exists(table) for table in ("batches", "facts", "facts/sales")] == [True, False, True]


def test_tables_are_queried_under_their_names(lake: Lake) -> None:
    lake.attempt("facts/sales", cycle=DAY).commit(rows(1, 2))
    lake.attempt("t", cycle=DAY).commit(rows(3))
    sql = "SELECT sum(units) + $more AS units FROM (FROM facts_sales UNION ALL FROM t)"
    assert lake.query(sql, ["facts/sales", "t"], more=4)["units"].to_pylist() == [10]


def test_an_old_version_can_be_read_and_queried(lake: Lake) -> None:
    first = lake.attempt("t", cycle=DAY).commit(rows(1)).version
    lake.attempt("t", cycle=DAY).commit(rows(2))
    assert lake.read("t", version=first)["units"].to_pylist() == [1]
    lake.attempt("u", cycle=DAY).commit(rows(3))
    sql = "SELECT t.units + u.units AS units FROM t, u"
    assert lake.query(sql, ["t", "u"], versions={"t": first})["units"].to_pylist() == [4]
    assert lake.query(sql, ["t", "u"])["units"].to_pylist() == [5]


FULL_DISK = """
import resource, sys
from datetime import date
import numpy as np
import pyarrow as pa
from pipeline.errors import StageError
from pipeline.lake import Lake

numbers = np.random.default_rng(1).random(50_000)
attempt = Lake(sys.argv[1]).attempt("facts/sales", cycle=date(2021, 3, 2))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    attempt.commit(pa.table({"item": numbers.astype(str).tolist(), "units": numbers}))
except StageError as error:
    sys.exit(str(error))
"""


def test_disk_that_fills_up_during_a_commit_is_told_by_the_tables_name(tmp_path: Path) -> None:
    lake = Lake(f"{tmp_path}/lake/small")
    lake.attempt("facts/sales", cycle=DAY).commit(rows(1))
    before = lake.version("facts/sales")
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, lake.root], stderr=subprocess.PIPE, text=True, check=False)
    told = ended.stderr.strip().splitlines()[-1]
    assert told.startswith(f"The table 'facts/sales' cannot be written to {lake.root} (No space left on device)")
    assert lake.version("facts/sales") == before
    assert lake.read("facts/sales").num_rows == 1
    assert lake.attempt("facts/sales", cycle=DAY + timedelta(days=1)).commit(rows(2)).changed


def test_table_that_was_never_written_is_told_in_a_sentence(lake: Lake) -> None:
    assert lake.version("t") is None
    with pytest.raises(StageError, match=r"'t'.*does not exist yet"):
        lake.read("t")


@pytest.mark.slow
def test_store_that_does_not_answer_is_told_in_a_sentence_and_may_be_tried_again(s3, monkeypatch, unused_port) -> None:
    lake = Lake(f"{s3}/lake/small")
    attempt = lake.attempt("t", cycle=DAY)
    attempt.commit(rows(1))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://someone:hidden@127.0.0.1:{unused_port}")
    reads = [
        lambda: lake.exists("t"),
        lambda: lake.version("t"),
        lake.tables,
        lambda: lake.read("t"),
        lambda: attempt.commit(rows(2)),
    ]
    for read in reads:
        with pytest.raises(LakeUnavailableError) as told:
            read()
        assert told.value.may_pass
        assert f"The lake at {s3}/lake/small does not answer" in str(told.value)
        assert "\n" not in str(told.value)
        assert not {"hidden", "testing-secret"} & set(str(told.value).replace(":", " ").replace("@", " ").split())


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_bucket_that_does_not_exist_is_told_in_a_sentence(s3) -> None:
    with pytest.raises(LakeUnavailableError, match=r"s3://no-such-bucket/lake"):
        Lake("s3://no-such-bucket/lake").attempt("t", cycle=DAY).commit(rows(1))
