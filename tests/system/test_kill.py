"""SIGKILL in every stage: another try ends with the same tables as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from tests.conftest import AS_OF
from tests.system.conftest import CANDIDATES, Done, asked_of_airflow, rows_of, started_night

pytestmark = pytest.mark.slow

FAULTS = Path(__file__).with_name("faults")
STAGES = ("collect", "validate", "preprocess", "backtest", "train", "evaluate", "promote", "publish", "report")
KILLED_VALIDATE = """
import os, signal, sys
from datetime import date
import pipeline.lake
from pipeline import validate
from pipeline.cycle import open_cycle

commit = pipeline.lake.Attempt.commit

def commit_and_die(attempt, *arguments, **provenance):
    done = commit(attempt, *arguments, **provenance)
    if attempt.table == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

pipeline.lake.Attempt.commit = commit_and_die
validate.run(open_cycle(sys.argv[1], date.fromisoformat(sys.argv[2])), "sales")
"""


@pytest.fixture(scope="module")
def killed(places: Path, market: Path) -> tuple[dict[str, int], Done]:
    """Return a night in which a task of each stage was killed in its work, and the killed processes by stage."""
    home, faults = Home(places / "killed"), places / "faults"
    faults.mkdir()
    victims: dict[str, int] = {}
    extra = {"PYTHONPATH": os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))}
    with started_night(market, home, TRENDMILL_TEST_FAULTS=str(faults), **extra) as command:
        for stage in STAGES:
            note = faults / stage
            command.wait_until(lambda note=note: note.exists() and note.read_text().endswith("\n"))
            victims[stage] = int(note.read_text())
            assert _is_a_task(victims[stage], command.witness.processes)
            os.kill(victims[stage], signal.SIGKILL)
        code = command.wait()
    return victims, Done(home, code, command.output, command.witness)


def test_a_night_with_a_kill_in_every_stage_ends_well(killed):
    victims, done = killed
    assert done.code == 0, done.output
    assert set(victims) == set(STAGES)
    assert "Traceback" not in done.output
    assert done.witness.survivors() == []


def test_airflow_tried_each_killed_task_again(killed):
    victims, done = killed
    history = "SELECT pid, task_id, map_index FROM task_instance_history"
    first_tries = {pid: (task, index) for pid, task, index in asked_of_airflow(done.home, history)}
    ended = {
        (task, index): (state, tries)
        for task, index, state, tries in asked_of_airflow(
            done.home, "SELECT task_id, map_index, state, try_number FROM task_instance"
        )
    }
    for stage, pid in victims.items():
        assert first_tries[pid][0].rpartition(".")[2] == stage
        assert ended[first_tries[pid]] == ("success", 2)
    untouched = [tries for task, (_, tries) in ended.items() if task not in first_tries.values()]
    assert max(untouched) == 1


def test_its_tables_are_those_of_an_undisturbed_night(killed, undisturbed):
    assert rows_of(killed[1].home) == rows_of(undisturbed)


def test_mlflow_holds_each_run_once(killed):
    from mlflow import MlflowClient

    uri = f"sqlite:///{killed[1].home.mlflow / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert [run.info.run_name for run in parents] == [str(AS_OF)]
    assert sorted(run.info.run_name for run in children) == sorted(CANDIDATES)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [int(version.version) for version in client.search_model_versions("name = 'small'")] == [1]
    assert int(client.get_model_version_by_alias("small", "champion").version) == 1


@pytest.mark.parametrize("table", ["quarantine", "facts/sales", "batches"])
def test_a_kill_after_each_commit_of_the_gate_is_healed_by_another_run(table, market, home, undisturbed):
    cycle = open_cycle(market, AS_OF, home)
    collect.run(cycle, "sales")
    child = [sys.executable, "-c", KILLED_VALIDATE, str(market), str(AS_OF), table]
    assert subprocess.run(child, check=False).returncode == -signal.SIGKILL
    assert cycle.lake.version(table) is not None

    report = validate.run(cycle, "sales")
    assert report.landed == report.accepted + report.quarantined + report.duplicates
    assert _sales_tables(cycle) == _sales_tables(open_cycle(market, AS_OF, undisturbed))


def _is_a_task(pid: int, family: dict[int, psutil.Process]) -> bool:
    """Return whether a process is a task's own, somewhere below the supervisor."""
    process = psutil.Process(pid)
    return process.cmdline()[0].startswith("airflow worker") and any(one.pid in family for one in process.parents())


def _sales_tables(cycle: Cycle) -> dict[str, list[str]]:
    """Return what validating the sales has written."""
    tables = {name: cycle.lake.read(name) for name in ("facts/sales", "quarantine", "batches")}
    rows = {name: table.to_pylist() for name, table in tables.items()}
    return {
        name: sorted(map(repr, (row for row in held if row.get("feed", "sales") == "sales")))
        for name, held in rows.items()
    }
