"""When the engine believes that a DAG cannot be read, and when it waits."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.engine import engine as engine_module
from pipeline.engine.engine import Engine
from pipeline.engine.errors import EngineError
from pipeline.engine.rest import ImportProblem

MINE, OTHER = Path("/shops/mine.yaml"), Path("/elsewhere/shops/mine.yaml")
NOW = datetime.now(UTC) + timedelta(days=1)  # after the start of any engine of these tests, however late they run
OLD = NOW - timedelta(days=2)


def problem(file, seen, *lines):
    return ImportProblem(file, seen, "\n".join(["Traceback (most recent call last):", "  raise ...", *lines, ""]))


@pytest.fixture
def wait(home, monkeypatch):
    """Return a function that waits for a DAG which Airflow knows from its third look on, or never."""
    monkeypatch.setattr(engine_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(engine_module, "_START_SECONDS", 0.3)

    def waiting(problems, *, appears, before=None):
        engine = Engine(home, port=1, follow_schedule=False, extra={})
        looks = itertools.count()
        engine.api = SimpleNamespace(
            parsed_at=lambda _: NOW if appears and next(looks) >= 2 else before, import_problems=lambda: problems
        )
        engine.wait_until_parsed("daily_cycle__mine", MINE)

    return waiting


@pytest.mark.parametrize(
    "found",
    [
        problem("daily_cycle.py", OLD, "SyntaxError: mended since"),
        problem("broken_markets.py", NOW, f"ImportError: {OTHER} is no market"),
        problem("broken_markets.py", OLD, f"ImportError: {MINE} is no market"),
    ],
    ids=["stale", "sibling", "mended"],
)
def test_what_does_not_concern_the_dag_does_not_end_the_wait(wait, found):
    wait([found], appears=True)


def test_a_dag_file_that_cannot_be_imported_now_ends_it_at_once(wait, monkeypatch):
    monkeypatch.setattr(engine_module, "_START_SECONDS", 600)
    with pytest.raises(EngineError, match=r"does not know the DAG daily_cycle__mine \(SyntaxError: here\)"):
        wait([problem("daily_cycle.py", NOW, "SyntaxError: here")], appears=False)


@pytest.mark.parametrize("before", [None, OLD])
def test_the_sentence_on_the_wanted_market_is_said_at_once_and_alone(wait, monkeypatch, before):
    monkeypatch.setattr(engine_module, "_START_SECONDS", 600)
    told = problem("broken_markets.py", NOW, f"ImportError: {OTHER} is no market", f"{MINE} is no market either")
    with pytest.raises(EngineError, match=f"^{MINE} is no market either$"):
        wait([told], appears=False, before=before)


def test_in_the_end_the_deadline_names_what_was_found(wait):
    with pytest.raises(EngineError, match=f"ImportError: {OTHER} is no market"):
        wait([problem("broken_markets.py", NOW, f"ImportError: {OTHER} is no market")], appears=False)
    with pytest.raises(EngineError, match="no import error"):
        wait([], appears=False)
