"""What a person sees of a night: its progress, and why it failed."""

import io

import pytest
from rich.console import Console

from pipeline.engine.failure import reason_of
from pipeline.engine.night import _labelled
from pipeline.engine.rest import TaskState
from pipeline.engine.watch import open_watch


def task(task_id="feeds.collect", state="running", map_index=0, label="sales", seconds=None, tries=1):
    return TaskState(task_id, map_index, label, state, None, seconds, tries, None)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ([{"event": "start"}], "its log says nothing; the process was probably killed from outside."),
        ([{"event": "lost", "level": "error"}, {"event": "end", "level": "info"}], "lost"),
        (
            [{"event": "f", "error_detail": [{"exc_type": "AirflowFailException", "exc_value": "No column 'x'."}]}],
            "No column 'x'.",
        ),
        ([{"event": "f", "error_detail": [{"exc_type": "ValueError", "exc_value": "bad"}]}], "ValueError: bad"),
        ([{"event": "f", "error_detail": [{"exc_type": "MemoryError", "exc_value": ""}]}], "MemoryError"),
        (
            [{"event": "f", "error_detail": [{"exc_type": "SQLError", "exc_value": "locked\n[SQL: ...]"}]}],
            "SQLError: locked",
        ),
    ],
)
def test_the_reason_is_one_sentence_of_the_log(log, reason):
    assert reason_of(log) == reason


def test_without_a_terminal_each_change_is_one_line():
    sink = io.StringIO()
    with open_watch(Console(file=sink, width=120), "Shop, as of 2017-11-30") as watch:
        for state, seconds, tries in [
            ("waiting", None, 0),
            ("running", None, 1),
            ("running", None, 1),
            ("up_for_retry", 0.5, 1),
            ("success", 2.0, 2),
        ]:
            watch.show([task(state=state, seconds=seconds, tries=tries), task("watcher", "skipped", -1)])
    lines = [line.partition(" s  ")[2] or line for line in sink.getvalue().splitlines()]
    assert lines == [
        "Shop, as of 2017-11-30",
        "feeds.collect [sales]: running",
        "feeds.collect [sales]: up for retry",
        "feeds.collect [sales]: success after 2.0 s (try 2)",
    ]


def test_a_mapped_task_is_told_once_its_name_is_known():
    sink = io.StringIO()
    with open_watch(Console(file=sink, width=120), "Shop") as watch:
        watch.show([task(label="")])
        assert sink.getvalue() == "Shop\n"
        watch.show([task()])
    assert "feeds.collect [sales]: running" in sink.getvalue()


def test_a_label_holds_for_later_tries_and_for_the_whole_group():
    labels = {}
    assert _labelled(task(), labels).name == "feeds.collect [sales]"
    assert _labelled(task(state="up_for_retry", label=""), labels).name == "feeds.collect [sales]"
    assert _labelled(task("feeds.validate", "upstream_failed", label=""), labels).name == "feeds.validate [sales]"
    assert _labelled(task(map_index=1, label=""), labels).name == "feeds.collect [1]"


def test_on_a_terminal_the_tasks_are_a_table():
    sink = io.StringIO()
    with open_watch(Console(file=sink, width=120, force_terminal=True), "Shop") as watch:
        watch.show([task(state="success", seconds=2.04), task("preprocess", "waiting", -1, "")])
    text = sink.getvalue()
    assert "feeds.collect [sales]" in text
    assert "2.0" in text
    assert "preprocess" in text
