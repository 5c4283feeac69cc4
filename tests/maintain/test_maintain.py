"""Housekeeping: rows stay, files are joined, what is past its retention goes; beside a night, killed, and again."""

import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline import maintain
from pipeline.cli import app
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.feeds import FEEDS
from pipeline.lake import Lake, tend
from tests.conftest import AS_OF

pytestmark = pytest.mark.slow

NIGHTS = 6
KILLED = """
import os, signal, sys
from datetime import date
import pipeline.lake.upkeep
from pipeline import maintain
from pipeline.cycle import open_cycle

step = getattr(pipeline.lake.upkeep, sys.argv[3])

def step_and_die(*arguments):
    step(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(pipeline.lake.upkeep, sys.argv[3], step_and_die)
maintain.run(open_cycle(sys.argv[1], date.fromisoformat(sys.argv[2])))
"""


@pytest.fixture
def cycle(small_cycle: Cycle) -> Cycle:
    fill(small_cycle.lake)
    return small_cycle


def fill(lake: Lake) -> None:
    """Write two tables over some nights, one night of them twice."""
    for night in [*range(NIGHTS), 2]:
        for table in ("facts/sales", "batches"):
            lake.attempt(table, cycle=on(night)).commit(facts(night, units=night + 10))


def facts(night: int, units: float) -> pa.Table:
    schema = pa.schema([("known_on", pa.date32()), ("deleted", pa.bool_()), *FEEDS["sales"].schema.remove(6).remove(5)])
    row = {"known_on": on(night), "date": on(night), "location": "all", "units": units, "revenue": 1.0, "orders": 1}
    rows = [row | {"item": item, "deleted": False, "returns": 0.0} for item in "ab"]
    return pa.Table.from_pylist(rows, schema=schema)


def on(night: int) -> date:
    return AS_OF - timedelta(days=NIGHTS - 1 - night)


def rows_of(lake: Lake) -> dict[str, list[str]]:
    return {table: sorted(map(str, lake.read(table).to_pylist())) for table in lake.tables()}


def files_of(lake: Lake) -> dict[str, int]:
    return {table: len(lake.open(table).file_uris()) for table in lake.tables()}


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for one in [*path.rglob("*"), path]:
        os.utime(one, (then, then))


def test_files_are_joined_and_every_row_and_count_stays(cycle: Cycle) -> None:
    before = rows_of(cycle.lake)
    stale = cycle.lake.attempt("batches", cycle=on(2))
    assert stale.fence == 2
    report = maintain.run(cycle)
    assert (report.tables, report.files_before, report.files_after) == (2, 2 * NIGHTS, 2)
    assert files_of(cycle.lake) == {"batches": 1, "facts/sales": 1}
    assert rows_of(cycle.lake) == before
    assert cycle.lake.attempt("batches", cycle=on(2)) == stale
    assert "12 files joined to 2" in report.summary()


def test_a_second_time_changes_nothing(cycle: Cycle) -> None:
    maintain.run(cycle)
    versions = {table: cycle.lake.open(table).version() for table in cycle.lake.tables()}
    report = maintain.run(cycle)
    assert {table: cycle.lake.open(table).version() for table in cycle.lake.tables()} == versions
    assert (report.files_before, report.files_after, report.files_removed) == (2, 2, 0)


def test_the_lake_in_an_object_store_is_kept_in_order_too(small_market, s3, tmp_path) -> None:
    cycle = open_cycle(small_market(), AS_OF, Home(tmp_path / "home", f"{s3}/lake"))
    assert cycle.lake.root == f"{s3}/lake/small"
    for night in range(3):
        cycle.lake.attempt("facts/sales", cycle=on(night)).commit(facts(night, units=1))
    before = rows_of(cycle.lake)
    report = maintain.run(cycle)
    assert (report.files_before, report.files_after) == (3, 1)
    assert rows_of(cycle.lake) == before


def test_a_night_after_it_replaces_its_rows_in_the_joined_file(cycle: Cycle) -> None:
    tend(cycle.lake, "batches", versions_days=0)
    cycle.lake.attempt("batches", cycle=on(3)).commit(facts(3, units=99))
    held = cycle.lake.read("batches")
    assert held.num_rows == 2 * NIGHTS
    assert cycle.lake.read("batches", cycle=on(3))["units"].to_pylist() == [99, 99]
    assert sorted(set(held["units"].to_pylist())) == [10, 11, 12, 14, 15, 99]


@pytest.mark.parametrize(("versions_days", "readable"), [(0, False), (7, True)])
def test_old_versions_can_be_read_as_long_as_the_market_says(
    cycle: Cycle, *, versions_days: int, readable: bool
) -> None:
    oldest = cycle.lake.open("batches").version() - 2
    held = cycle.lake.read("batches", version=oldest).num_rows
    removed = tend(cycle.lake, "batches", versions_days).files_removed
    assert (removed == 0) == readable
    if readable:
        assert cycle.lake.read("batches", version=oldest).num_rows == held
    else:
        with pytest.raises(OSError, match=r"No such file|not found"):
            cycle.lake.read("batches", version=oldest)
    assert cycle.lake.read("batches", version=cycle.lake.version("batches")).num_rows == 2 * NIGHTS


def test_the_log_is_kept_as_long_as_the_versions(cycle: Cycle) -> None:
    tend(cycle.lake, "batches", versions_days=90)
    configuration = cycle.lake.open("batches").metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 90 days"


def test_a_short_log_still_fences(cycle: Cycle) -> None:
    """Delta removes log entries of more than 30 days; the owners' counts live on in its checkpoint."""
    log = cycle.home.lake / "small" / "batches" / "_delta_log"
    stale = cycle.lake.attempt("batches", cycle=on(4))
    cycle.lake.attempt("batches", cycle=on(4)).commit(facts(4, units=0))
    age(log, days=60)
    entries = len(list(log.iterdir()))
    tend(cycle.lake, "batches", versions_days=0)
    assert len(list(log.iterdir())) < entries
    with pytest.raises(Exception, match="stale"):
        stale.commit(facts(4, units=1))


@pytest.mark.parametrize(
    ("versions_days", "left"), [(0, ["part-now.parquet"]), (7, ["part-now.parquet", "part-old.parquet"])]
)
def test_what_a_killed_attempt_has_left_goes_with_the_old_versions(
    cycle: Cycle, versions_days: int, left: list[str]
) -> None:
    """But never within a day: it could be somebody's who is about to commit."""
    folder = cycle.home.lake / "small" / "batches"
    own = Path(cycle.lake.open("batches").file_uris()[0]).read_bytes()
    for name in ("old", "now"):
        (folder / f"part-{name}.parquet").write_bytes(own)
    age(folder / "part-old.parquet", days=1.1)
    tend(cycle.lake, "batches", versions_days)
    assert sorted(file.name for file in folder.glob("part-[on]*.parquet")) == left


def test_landed_batches_go_after_their_retention_and_half_ones_with_them(small_market, home: Home) -> None:
    cycle = open_cycle(small_market(retention={"landing_days": 10}), AS_OF, home)
    landing = home.landing / "small"
    names = [str(AS_OF - timedelta(days=days)) for days in (0, 10, 11, 40)]
    for name in [*names, f".{names[2]}.0abc", f".{names[0]}.0abc", "notes"]:
        (landing / "sales" / name).mkdir(parents=True)
        (landing / "sales" / name / "rows.parquet").write_bytes(b"somebody@example.com")
    other = home.landing / "other" / "sales" / names[3]
    other.mkdir(parents=True)
    age(home.landing, days=2)
    assert maintain.run(cycle).batches_removed == 3
    left = {folder.name for folder in (landing / "sales").iterdir()}
    assert left == {names[0], names[1], f".{names[0]}.0abc", "notes"}
    assert other.exists()
    assert maintain.run(cycle).batches_removed == 0


def test_a_batch_of_long_ago_that_has_just_landed_stays_for_its_backfill(small_cycle: Cycle) -> None:
    batch = small_cycle.home.landing / "small" / "sales" / "2021-01-05"
    batch.mkdir(parents=True)
    assert maintain.run(small_cycle).batches_removed == 0
    assert batch.exists()


def test_nothing_is_lost_when_nights_commit_meanwhile(cycle: Cycle) -> None:
    """One writer adds nights and one repeats old ones, whose rows lie in the files that are being joined."""
    started, ended, failures = Event(), Event(), []

    def write() -> None:
        try:
            for turn in range(8):
                cycle.lake.attempt("batches", cycle=on(NIGHTS + turn)).commit(facts(NIGHTS + turn, units=1))
                cycle.lake.attempt("batches", cycle=on(turn % 3)).commit(facts(turn % 3, units=100 + turn))
                started.set()
        except Exception as exc:  # noqa: BLE001 - told by the test
            failures.append(exc)
        started.set()
        ended.set()

    writer = Thread(target=write)
    writer.start()
    started.wait()
    while not ended.is_set():
        tend(cycle.lake, "batches", versions_days=7)
    writer.join()
    assert failures == []
    tend(cycle.lake, "batches", versions_days=0)
    held = cycle.lake.read("batches").to_pylist()
    assert len(held) == 2 * (NIGHTS + 8)
    assert {row["cycle"]: row["units"] for row in held} == (
        {on(night): night + 10.0 for night in range(NIGHTS)}
        | {on(NIGHTS + turn): 1.0 for turn in range(8)}
        | {on(0): 106.0, on(1): 107.0, on(2): 105.0}
    )


@pytest.mark.parametrize("step", ["_keep_log", "_join_files", "_vacuum"])
def test_killed_at_any_step_it_leaves_every_row_and_ends_well_next_time(small_market, home: Home, step: str) -> None:
    file = small_market(retention={"versions_days": 0})
    cycle = open_cycle(file, AS_OF, home)
    fill(cycle.lake)
    before = rows_of(cycle.lake)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file), str(AS_OF), step], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows_of(cycle.lake) == before
    maintain.run(cycle)
    assert rows_of(cycle.lake) == before
    assert files_of(cycle.lake) == {"batches": 1, "facts/sales": 1}


def test_the_command_says_what_it_did(small_market, home: Home) -> None:
    file = small_market()
    fill(open_cycle(file, AS_OF, home).lake)
    done = CliRunner().invoke(app, ["maintain", str(file), "--date", str(AS_OF)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "2 tables: 12 files joined to 2, 0 old ones removed; 0 landed batches removed." in said


def test_a_market_without_a_lake_has_nothing_to_keep(small_cycle: Cycle) -> None:
    assert maintain.run(small_cycle).tables == 0
