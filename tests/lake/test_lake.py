"""The lake's promises: whole versions, fenced attempts, idempotent commits, and only what was known on a day."""

from datetime import date, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import FencedError, StageError
from pipeline.lake import Lake

DAY = date(2021, 3, 1)
FACTS = pa.schema([("known_on", pa.date32()), ("item", pa.string()), ("units", pa.float64()), ("deleted", pa.bool_())])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def rows(*units: float) -> pa.Table:
    return pa.table({"item": [f"i{number}" for number in range(len(units))], "units": [float(unit) for unit in units]})


def test_commit_replaces_the_owners_rows_and_no_others(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1, 2))
    lake.attempt("t", cycle=DAY + timedelta(days=1)).commit(rows(3))
    lake.attempt("t", cycle=DAY).commit(rows(4))
    assert lake.read("t", cycle=DAY)["units"].to_pylist() == [4]
    assert sorted(lake.read("t")["units"].to_pylist()) == [3, 4]


def test_equal_rows_add_no_version_in_whatever_order_they_come(lake: Lake) -> None:
    first = lake.attempt("t", cycle=DAY).commit(rows(1, 2))
    again = lake.attempt("t", cycle=DAY).commit(rows(1, 2).take([1, 0]))
    assert first.changed
    assert not again.changed
    assert again.version == first.version == lake.version("t")


def test_stale_attempt_is_refused_and_leaves_the_newer_rows(lake: Lake) -> None:
    stale = lake.attempt("t", cycle=DAY)
    lake.attempt("t", cycle=DAY).commit(rows(1))
    with pytest.raises(FencedError, match="stale"):
        stale.commit(rows(2))
    assert lake.read("t", cycle=DAY)["units"].to_pylist() == [1]


def test_of_many_attempts_at_once_for_one_owner_exactly_one_commits(lake: Lake) -> None:
    outcomes = _at_once([(lake.attempt("t", cycle=DAY), rows(*range(size + 1))) for size in range(4)])
    assert sorted(outcomes) == ["FencedError"] * 3 + ["committed"]
    assert lake.read("t", cycle=DAY).num_rows in {1, 2, 3, 4}


def test_attempts_at_once_for_different_owners_all_commit_even_into_a_new_table(lake: Lake) -> None:
    attempts = [(lake.attempt("t", cycle=DAY + timedelta(days=shift)), rows(shift)) for shift in range(4)]
    assert _at_once(attempts) == ["committed"] * 4
    assert lake.read("t").num_rows == 4


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


def test_empty_rows_make_an_empty_table_that_can_be_read(lake: Lake) -> None:
    lake.attempt("t", cycle=DAY).commit(rows())
    assert lake.read("t", cycle=DAY).num_rows == 0


def test_provenance_stands_in_the_tables_history(lake: Lake, tmp_path: Path) -> None:
    lake.attempt("t", cycle=DAY).commit(rows(1), **{"trendmill.version": "9.9"})
    newest = DeltaTable(str(tmp_path / "lake" / "t")).history(1)[0]
    assert newest["trendmill.version"] == "9.9"


def test_table_that_was_never_written_is_told_in_a_sentence(lake: Lake) -> None:
    assert lake.version("t") is None
    with pytest.raises(StageError, match=r"'t'.*does not exist yet"):
        lake.read("t")


revision = st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.integers(0, 3), st.booleans())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(revision, min_size=1, max_size=12), day=st.integers(0, 6))
def test_as_of_equals_a_naive_oracle_and_is_deaf_to_what_is_learnt_later(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[int, str, int, bool]], day: int
) -> None:
    everything = _written(tmp_path_factory, history)
    until_then = _written(tmp_path_factory, [entry for entry in history if entry[0] <= day])
    expected = {}
    for known, item, units, deleted in sorted({(entry[0], entry[1]): entry for entry in history}.values()):
        if known <= day:
            expected[item] = None if deleted else float(units)
    expected = {item: units for item, units in expected.items() if units is not None}
    assert _known(everything, day) == expected
    assert _known(until_then, day) == expected


def _written(factory: pytest.TempPathFactory, history: list[tuple[int, str, int, bool]]) -> Lake:
    lake = Lake(str(factory.mktemp("lake")))
    by_cycle: dict[int, dict] = {}
    for known, item, units, deleted in history:
        row = {"known_on": DAY + timedelta(days=known), "item": item, "units": float(units), "deleted": deleted}
        by_cycle.setdefault(known, {})[item] = row
    lake.attempt("facts/sales", cycle=DAY - timedelta(days=1)).commit(FACTS.empty_table())
    for known, found in by_cycle.items():
        table = pa.Table.from_pylist(list(found.values()), schema=FACTS)
        lake.attempt("facts/sales", cycle=DAY + timedelta(days=known)).commit(table)
    return lake


def _known(lake: Lake, day: int) -> dict[str, float]:
    found = lake.as_of("sales", ("item",), DAY + timedelta(days=day))
    return dict(zip(found["item"].to_pylist(), found["units"].to_pylist(), strict=True))
