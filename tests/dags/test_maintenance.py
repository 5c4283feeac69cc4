"""The weekly housekeeping: one task a market, at an hour at which no market's night is due."""

import importlib
from datetime import UTC, date, datetime

import pytest
import yaml

from pipeline.cycle import open_cycle
from pipeline.errors import ConfigError, LakeUnavailableError
from tests.conftest import AS_OF


@pytest.fixture(scope="module")
def maintenance(factory):
    return importlib.import_module("lake_maintenance")


class Run:
    """What a task asks of Airflow's run."""

    logical_date = datetime(2021, 7, 12, 17, tzinfo=UTC)


def cards(factory, folder, *settings):
    found = []
    for number, (at, zone, frequency) in enumerate(settings):
        content = {
            "name": f"shop{number}",
            "timezone": zone,
            "frequency": frequency,
            "schedule": {"at": at},
            "feeds": {"sales": {}},
            "candidates": {"naive": {"model": "seasonal_naive"}},
        }
        file = folder / f"shop{number}.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        found.append(factory.read_card(file))
    return found


def test_it_runs_each_week_with_one_mapped_task_a_market(maintenance, factory):
    from airflow.serialization.serialized_objects import DagSerialization

    dag = maintenance.dag
    assert dag.dag_id == "lake_maintenance"
    assert dag.timetable.expression.endswith(" * * 0")
    assert (dag.catchup, dag.max_active_runs, dag.start_date) == (False, 1, None)
    (task,) = dag.tasks
    assert task.task_id == "maintain"
    assert "**When it fails:**" in task.doc_md
    mapped = task.op_kwargs_expand_input.value["market"]
    assert mapped == [card.name for card in factory.find_markets().cards]
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "lake_maintenance"


@pytest.mark.parametrize(
    ("nights", "hour"),
    [
        ([("05:00", "UTC", "D")], 17),
        ([("05:00", "UTC", "D"), ("05:00", "Asia/Shanghai", "D")], 13),
        ([("12:30", "Europe/London", "D")], 0),
    ],
)
def test_its_hour_lies_far_from_every_night(maintenance, factory, tmp_path, nights, hour):
    assert maintenance.quiet_hour(cards(factory, tmp_path, *nights)) == hour


def test_without_a_market_there_is_a_dag_all_the_same(maintenance):
    assert maintenance.lake_maintenance([]).dag_id == "lake_maintenance"


@pytest.mark.parametrize(("frequency", "day"), [("D", date(2026, 1, 3)), ("W", date(2025, 12, 28))])
def test_its_day_is_the_last_that_the_market_can_have_had(maintenance, factory, tmp_path, frequency, day):
    (card,) = cards(factory, tmp_path, ("05:00", "UTC", frequency))
    assert maintenance.last_day(card, datetime(2026, 1, 4, 17, tzinfo=UTC)) == day


def test_its_task_keeps_the_market_s_lake_in_order(maintenance, small_market, home, monkeypatch):
    import pyarrow as pa

    file = small_market()
    monkeypatch.setenv("TRENDMILL_MARKETS", str(file.parent))
    lake = open_cycle(file, AS_OF, home).lake
    for number in range(3):
        lake.attempt("t", number=str(number)).commit(pa.table({"a": [number]}))

    monkeypatch.setattr(maintenance, "get_current_context", lambda: {"dag_run": Run()})
    report = maintenance.maintain.function("small")
    assert (report["tables"], report["files_before"], report["files_after"]) == (1, 3, 1)


@pytest.mark.parametrize(
    ("error", "raised"), [(ConfigError, "AirflowFailException"), (LakeUnavailableError, "LakeUnavailableError")]
)
def test_only_what_may_pass_is_tried_again(maintenance, small_market, monkeypatch, error, raised):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(small_market().parent))
    monkeypatch.setattr(maintenance, "get_current_context", lambda: {"dag_run": Run()})

    def refuse(*_):
        msg = "It cannot be done."
        raise error(msg)

    monkeypatch.setattr(maintenance, "last_day", refuse)
    with pytest.raises(Exception, match="It cannot be done") as caught:
        maintenance.maintain.function("small")
    assert caught.type.__name__ == raised
