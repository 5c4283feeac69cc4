"""A whole night on the real engine: what it leaves, what it says, and what it must not leave or say."""

import re
import signal
from ipaddress import ip_address
from pathlib import Path

import pytest

from pipeline.cycle import Home, open_cycle
from pipeline.engine.credentials import Credentials
from pipeline.lake import Lake
from pipeline.publish.summary import summarise
from tests.conftest import AS_OF, small_market_frames, write_small_market
from tests.system.conftest import (
    Done,
    asked_of_airflow,
    lake_of,
    rows_of,
    started_night,
    whole_night,
)

pytestmark = pytest.mark.slow

TABLES = {
    *(f"facts/{feed}" for feed in ("sales", "prices", "promotions", "catalogue", "calendar")),
    *("quarantine", "batches", "backtests", "scores", "verdicts", "champions", "forecasts"),
}
LONGEST_END_SECONDS = 60


@pytest.fixture(scope="module")
def again(night: Done, market: Path) -> tuple[dict, Done]:
    """Return the tables as the first night left them, and the same night run once more in the same home."""
    before = lake_of(night.home)
    done = whole_night(market, night.home)
    assert done.code == 0, done.output
    return before, done


@pytest.fixture(scope="module")
def interrupted(places: Path, market: Path) -> Done:
    """Return a night that was told to end (SIGTERM) in the middle of its first tasks."""
    home = Home(places / "interrupted")
    with started_night(market, home) as command:
        command.wait_until(lambda: re.search(r"feeds\.\w+ .*: running", command.output) is not None)
        command.send(signal.SIGTERM)
        code = command.wait(LONGEST_END_SECONDS)
    return Done(home, code, command.output, command.witness)


@pytest.fixture(scope="module")
def failed(places: Path, interrupted: Done) -> Done:
    """Return a night whose source lacks a column, in a home that has seen an interrupted one."""
    file = write_small_market(
        places / "broken",
        name="broken",
        feeds={"sales": {"source": "files", "path": "sales.csv"}},
        series={"top": 20, "trailing_days": 91, "levels": []},
        candidates={"seasonal_naive": {"model": "seasonal_naive"}},
    )
    return whole_night(file, interrupted.home)


def test_every_table_is_there_and_holds_the_night(night):
    tables = lake_of(night.home)
    assert set(tables) == TABLES
    lake = Lake(str(night.home.lake / "small"))
    forecasts = lake.read("forecasts", cycle=AS_OF)
    assert forecasts.num_rows == 20 * 14
    assert len(set(forecasts["unique_id"].to_pylist())) == 20
    ledger = {row["feed"]: row for row in lake.read("batches").to_pylist()}
    assert set(ledger) == set(open_cycle(_market_of(night), AS_OF, night.home).market.feeds)
    for row in ledger.values():
        assert row["landed"] == row["accepted"] + row["quarantined"] + row["duplicates"]
    known = small_market_frames()["sales"]["date"] <= AS_OF
    assert ledger["sales"]["landed"] == known.sum()
    assert (ledger["sales"]["quarantined"], ledger["sales"]["duplicates"]) == (2, 1)


def test_it_says_what_a_person_wants_to_know(night):
    said = " ".join(night.output.split())
    summary = summarise(open_cycle(_market_of(night), AS_OF, night.home))
    assert f"Winner: {summary.winner}, version 1, champion" in said
    assert f"{summary.best.gain:.1%} below the seasonal_naive's" in said
    assert f"interval covers {summary.best.coverage_80:.1%}" in said
    assert "Published: 280 rows for 20 series, 14 days ahead." in said
    assert "Quarantined: 2 of " in said
    for line in summary.quarantine:
        assert f"{line.rows} {line.feed}: {line.reason}" in said
    assert re.search(r"Report: \S+2021-07-11\.html", said)
    assert "make ui" in said
    assert "Traceback" not in said
    assert (night.home.reports / "small" / f"{AS_OF}.html").is_file()


def test_it_leaves_the_same_rows_as_a_cycle_without_airflow(night, undisturbed):
    assert rows_of(night.home) == rows_of(undisturbed)


def test_the_same_night_again_changes_nothing(again):
    before, done = again
    after = lake_of(done.home)
    assert {name: table.rows for name, table in after.items()} == {name: table.rows for name, table in before.items()}
    assert {name: table.version for name, table in after.items() if table.version > before[name].version + 1} == {}
    assert "version 1, champion" in done.output


def test_nothing_listens_beyond_this_machine(night):
    assert night.witness.listening, "the api-server was never seen listening"
    assert [address for address, _ in night.witness.listening if not ip_address(address).is_loopback] == []


@pytest.mark.parametrize("ended", ["night", "again", "interrupted", "failed"])
def test_no_process_survives(ended, request):
    found = request.getfixturevalue(ended)
    done = found[1] if isinstance(found, tuple) else found
    assert len(done.witness.processes) > 5
    assert done.witness.survivors() == []


def test_no_secret_leaves_its_file(night):
    credentials = Credentials.ensure(night.home.airflow)
    own = {
        credentials.password_file,
        credentials.fernet_key_file,
        credentials.jwt_secret_file,
        credentials.api_secret_file,
    }
    secrets = [file.read_text() for file in own - {credentials.password_file}] + [credentials.password()]
    assert all(len(secret) > 20 for secret in secrets)
    for file in own:
        assert file.stat().st_mode & 0o077 == 0
    wanted = [secret.encode() for secret in secrets]
    files = [file for root in (night.home.path, *_project()) for file in _files(root) if file not in own]
    assert any(file.name == "scheduler.log" for file in files)
    assert [str(file) for file in files if any(secret in file.read_bytes() for secret in wanted)] == []
    assert not any(secret in text for secret in secrets for text in (*night.witness.commands, night.output))


def test_a_night_that_is_told_to_end_does_so_at_once(interrupted):
    assert interrupted.code == 128 + signal.SIGTERM, interrupted.output
    assert "Traceback" not in interrupted.output
    assert asked_of_airflow(interrupted.home, "SELECT state FROM dag_run WHERE dag_id = 'daily_cycle__small'") == [
        ("failed",)
    ]
    assert asked_of_airflow(interrupted.home, "SELECT DISTINCT is_paused FROM dag") == [(1,)]


def test_a_source_that_lacks_a_column_fails_the_night_in_one_sentence(failed):
    assert failed.code == 1, failed.output
    assert "Traceback" not in failed.output
    told = [line for line in failed.output.splitlines() if line.startswith("Failed:")]
    assert len(told) == 1
    assert told[0].startswith("Failed: feeds.collect [sales]: ")
    assert "item" in told[0]
    assert "sales.csv" in told[0]
    assert "Winner" not in failed.output
    sql = "SELECT state FROM dag_run WHERE dag_id = 'daily_cycle__broken'"
    assert asked_of_airflow(failed.home, sql) == [("failed",)]
    assert not (failed.home.lake / "broken").exists()


def test_a_failed_night_is_failed_in_mlflow_too(failed):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{failed.home.mlflow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("broken")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {
        str(AS_OF): "FAILED",
        "seasonal_naive": "FAILED",
    }


def test_ctrl_c_ends_a_start_without_a_trace(places, market):
    home = Home(places / "regretted")
    with started_night(market, home) as command:
        command.wait_until((home.airflow / "logs" / "engine" / "migrate.log").exists)
        command.send(signal.SIGINT)
        code = command.wait(LONGEST_END_SECONDS)
    assert code == 130
    assert "Traceback" not in command.output
    assert command.witness.survivors() == []


def _market_of(done: Done) -> Path:
    return done.home.path.parent / "market" / "small.yaml"


def _project() -> list[Path]:
    root = Path(__file__).resolve().parents[2]
    return [path for path in root.iterdir() if not path.name.startswith(".")]


def _files(root: Path) -> list[Path]:
    """Return a file or all files of a folder, but no bytecode: tests beside this one may just be writing it."""
    if root.is_file():
        return [root]
    return [path for path in root.rglob("*") if "__pycache__" not in path.parts and path.is_file()]
