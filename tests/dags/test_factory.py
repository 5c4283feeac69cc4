import os
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from pipeline.candidates import DEFAULT, NEURAL
from pipeline.cycle import as_of_day, logical_date_of
from pipeline.errors import ConfigError
from pipeline.evaluate.promote import PromoteReport
from pipeline.market import Market, ScheduleSettings, load_market

MARKETS = Path(__file__).resolve().parents[2] / "markets"


@pytest.fixture(scope="module")
def dag(factory):
    return factory.daily_cycle(factory.read_card(MARKETS / "complete_journey.yaml"))


def test_the_dag_is_named_after_its_market_and_runs_nightly_in_its_time_zone(dag):
    assert dag.dag_id == "daily_cycle__complete_journey"
    assert dag.timetable.expression == "0 5 * * *"
    assert dag.timetable.timezone == "America/New_York"
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert dag.start_date is None, "a DAG that is let go would run the night before at once"


def test_a_weekly_market_runs_on_mondays_for_the_sunday_before(factory, weekly_market):
    card = factory.read_card(weekly_market())
    dag = factory.daily_cycle(card)
    assert dag.timetable.expression == "0 5 * * 1"
    assert dag.timetable.timezone == "Europe/London"
    assert {"trendmill", "weekly"} <= set(dag.tags)
    assert "Every Monday at 05:00 (Europe/London)" in dag.doc_md
    market = load_market(card.file)
    monday = logical_date_of(date(2021, 7, 11), market)
    assert (monday.weekday(), monday.hour) == (0, 5)
    assert as_of_day(monday, monday, market.zone) == date(2021, 7, 11)


def test_a_frequency_that_is_none_is_told(factory, weekly_market):
    with pytest.raises(ValueError, match="frequency 'M' is neither"):
        factory.read_card(weekly_market(frequency="M"))


def test_everything_is_tagged_and_documented(dag):
    assert {"trendmill", "daily", "complete_journey"} <= set(dag.tags)
    assert "airflow pools set gpu" in dag.doc_md
    for task in dag.tasks:
        assert task.doc_md, task.task_id
        assert task.task_id == "watcher" or "**When it fails:**" in task.doc_md, task.task_id


def test_tasks_retry_with_back_off_and_time_out(dag):
    for task in dag.tasks:
        assert task.execution_timeout == timedelta(minutes=60)
        if task.task_id != "watcher":
            assert (task.retries, task.retry_delay) == (2, timedelta(seconds=30))
            assert task.retry_exponential_backoff
            assert task.max_retry_delay


def test_neural_candidates_take_the_gpu_and_the_rest_takes_processors(dag):
    on_gpu = {task.task_id for task in dag.tasks if (task.pool, task.queue) == ("gpu", "gpu")}
    on_cpu = {task.task_id for task in dag.tasks if (task.pool, task.queue) == ("cpu", "cpu")}
    assert on_gpu == {"neural.train", "neural.backtest"}
    assert on_cpu == set(dag.task_ids) - on_gpu


def test_data_flows_in_the_order_of_the_stages(dag):
    def before(task_id: str) -> set[str]:
        return dag.get_task(task_id).upstream_task_ids

    assert before("feeds.collect") == {"begin"}
    assert before("feeds.validate") == {"feeds.collect"}
    assert before("preprocess") == {"feeds.validate"}
    for group in ("candidates", "neural"):
        assert before(f"{group}.backtest") == {"preprocess"}
        assert before(f"{group}.train") == {f"{group}.backtest"}
    assert before("ensembles.backtest") == {"candidates.train", "neural.train"}
    assert before("ensembles.train") == {"ensembles.backtest"}
    assert before("evaluate") == {"candidates.train", "neural.train", "ensembles.train"}
    assert before("promote") == {"evaluate"}
    assert before("publish") == {"promote"}
    assert before("report") == {"publish"}


def test_a_failed_task_is_a_failed_run(dag):
    """`close` always runs, so it alone would make every run a success: the watcher sees every task."""
    from airflow.sdk import TriggerRule

    closing, watching = dag.get_task("close"), dag.get_task("watcher")
    assert closing.trigger_rule == TriggerRule.ALL_DONE
    assert watching.trigger_rule == TriggerRule.ONE_FAILED
    assert closing.upstream_task_ids == set(dag.task_ids) - {"close", "watcher"}
    assert watching.upstream_task_ids == set(dag.task_ids) - {"watcher"}
    assert watching.retries == 0
    assert [task.task_id for task in dag.leaves] == ["watcher"]


def test_the_dag_can_be_stored_and_shows_the_mapped_names(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    stored = DagSerialization.to_dict(dag)["dag"]
    collect = next(task["__var"] for task in stored["tasks"] if task["__var"]["task_id"] == "feeds.collect")
    assert "op_kwargs['feed']" in str(collect)


def test_a_market_without_neural_candidates_has_no_gpu_tasks(factory, tmp_path):
    card = read(factory, tmp_path, candidates={"naive": {"model": "seasonal_naive"}})
    assert not [task for task in factory.daily_cycle(card).tasks if task.pool == "gpu"]


def test_what_the_dag_assumes_equals_what_the_library_says(factory, tmp_path):
    assert factory.GPU_MODELS == NEURAL


def test_a_market_that_names_no_candidates_has_the_librarys(factory, tmp_path):
    assert {name: settings["model"] for name, settings in DEFAULT.items()} == factory.DEFAULT_MODELS
    file = tmp_path / "bare.yaml"
    file.write_text("name: bare\ntitle: Bare\nfeeds: {sales: {source: files}}\n", encoding="utf-8")
    card = factory.read_card(file)
    assert card.ensembles == ("ensemble",)
    groups = factory.daily_cycle(card)
    assert groups.get_task("ensembles.backtest").upstream_task_ids == {"candidates.train"}
    assert "ensembles.train" in groups.get_task("evaluate").upstream_task_ids
    card, settings = read(factory, tmp_path), ScheduleSettings()
    for name in ScheduleSettings.model_fields:
        assert getattr(card, name) == getattr(settings, name), name
    assert card.timezone == Market.model_fields["timezone"].default


def test_the_card_agrees_with_the_validated_market(factory):
    for file in MARKETS.glob("*.yaml"):
        card, market = factory.read_card(file), load_market(file)
        assert (card.name, card.title, card.timezone) == (market.name, market.title, market.timezone)
        assert set(card.feeds) == set(market.feeds)
        assert card.models == {name: settings.model for name, settings in market.candidates.items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "ParserError"),
        ("name: shop", "'feeds'"),
        ("just words", "TypeError"),
        ("name: My Shop\nfeeds: {sales: {}}\ncandidates: {n: {model: seasonal_naive}}", "needs a name"),
        ("name: shop\nfeeds: {sales: {}}\ncandidates: {n: {model: x}}\ntimezone: Mars/Base", "Mars/Base"),
        ("name: shop\nfeeds: sales\ncandidates: {n: {model: x}}", "AttributeError"),
        ("name: shop\nfeeds: {sales: {}}\ncandidates: {n: {model: [lstm]}}", "['lstm'] is no text"),
        *(
            (f"name: shop\nfeeds: {{sales: {{}}}}\ncandidates: {{n: {{model: x}}}}\nschedule: {{{setting}}}", said)
            for setting, said in [
                ("at: 5", "5 is no text"),
                ('at: "29:00"', "quoted time"),
                ('at: "5:00"', "quoted time"),
                ("retry_delay_seconds: soon", "'soon'"),
                ("retry_delay_seconds: -1", "-1 is below 0"),
                ("retry_delay_seconds: .inf", "OverflowError"),
                ("retries: 1.5", "1.5 is no whole number"),
                ("retries: [1]", "TypeError"),
                ("task_timeout_minutes: .inf", "no whole number"),
            ]
        ),
    ],
)
def test_a_broken_market_is_one_sentence_and_spares_the_others(factory, tmp_path, monkeypatch, text, said):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path))
    shutil.copy(MARKETS / "complete_journey.yaml", tmp_path)
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    built = factory.build_dags()
    assert [dag.dag_id for dag in built.dags] == ["daily_cycle__complete_journey"]
    (problem,) = built.problems
    assert str(tmp_path / "broken.yaml") in problem
    assert said in problem
    assert "\n" not in problem


def test_two_markets_of_one_name_are_a_problem(factory, tmp_path, monkeypatch):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path))
    for name in ("a.yaml", "b.yaml"):
        shutil.copy(MARKETS / "complete_journey.yaml", tmp_path / name)
    found = factory.find_markets()
    assert len(found.cards) == 1
    assert "both call their market 'complete_journey'" in found.problems[0]


def test_files_beyond_the_folder_are_found_and_win(factory, tmp_path, monkeypatch):
    own = shutil.copy(MARKETS / "complete_journey.yaml", tmp_path / "mine.yaml")
    read(factory, tmp_path)
    monkeypatch.setenv("TRENDMILL_MARKET_FILES", os.pathsep.join([str(own), str(tmp_path / "shop.yaml")]))
    found = factory.find_markets()
    assert not found.problems
    assert [card.file for card in found.cards if card.name == "complete_journey"] == [own.resolve()]
    assert "shop" in {card.name for card in found.cards}


def test_a_dag_that_cannot_be_made_spares_the_others_and_is_told_of(factory, tmp_path, monkeypatch):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path))
    shutil.copy(MARKETS / "complete_journey.yaml", tmp_path)
    read(factory, tmp_path)

    def half_a_dag(card):
        if card.name == "shop":
            msg = "no such\nzone"
            raise RuntimeError(msg)
        return daily_cycle(card)

    daily_cycle = factory.daily_cycle
    monkeypatch.setattr(factory, "daily_cycle", half_a_dag)
    built = factory.build_dags()
    assert [dag.dag_id for dag in built.dags] == ["daily_cycle__complete_journey"]
    (problem,) = built.problems
    assert problem.startswith(
        f"{tmp_path / 'shop.yaml'} is no market that a DAG can be made of (RuntimeError: no such "
    )
    assert not factory.build_dags("daily_cycle__complete_journey").problems


def test_a_dag_belongs_to_the_file_that_names_it_alone(dag):
    """`broken_markets.py` makes the DAGs too, and must not become their file."""
    assert not dag.auto_register


def test_numbers_are_read_as_the_market_reads_them(factory, tmp_path):
    schedule = {"retries": "3", "retry_delay_seconds": "1.5", "task_timeout_minutes": 5.0}
    card, settings = read(factory, tmp_path, schedule=schedule), ScheduleSettings(**schedule)
    assert {name: getattr(card, name) for name in schedule} == settings.model_dump(include=set(schedule))


def test_a_person_s_mistake_ends_the_last_task_at_once_as_well(factory, dag, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    def refused(_):
        msg = "The market is broken."
        raise ConfigError(msg)

    monkeypatch.setattr(factory, "_open_cycle", refused)
    with pytest.raises(AirflowFailException, match="The market is broken"):
        dag.get_task("close").python_callable()


def test_the_champion_s_doc_says_what_the_report_says(dag):
    summary = PromoteReport("naive", 3, 2, promoted=False, evidence="").summary()
    assert "a later one holds the championship" in summary
    doc = dag.get_task("promote").doc_md
    assert "a later cycle holds the championship" in doc
    assert "names it" not in doc


def read(factory, folder: Path, **changes):
    content = {"name": "shop", "feeds": {"sales": {}}, "candidates": {"naive": {"model": "seasonal_naive"}}}
    file = folder / "shop.yaml"
    file.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return factory.read_card(file)
