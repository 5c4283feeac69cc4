"""What was known on a day: equal to a naive oracle, deaf to what is learnt later, and unmoved by housekeeping."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.feeds import FEEDS
from pipeline.lake import Between, Lake, tend

DAY = date(2021, 3, 1)
KEY = FEEDS["sales"].key
TABLE = "facts/sales"
DAYS = 7
FACTS = pa.schema(
    [
        ("known_on", pa.date32()),
        ("item", pa.string()),
        ("location", pa.string()),
        ("date", pa.date32()),
        ("units", pa.float64()),
        ("deleted", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Fact:
    """One row of a commit: a new or corrected fact, or with `deleted` the news that it has gone."""

    item: str
    about: int
    units: int
    deleted: bool
    known_from_its_day: bool
    """As in a first collection, which counts as known from the day that a fact is about."""

    def row(self, cycle: int) -> dict:
        known = min(self.about, cycle) if self.known_from_its_day else cycle
        return {
            "known_on": DAY + timedelta(days=known),
            "item": self.item,
            "location": "all",
            "date": DAY + timedelta(days=self.about),
            "units": float(self.units),
            "deleted": self.deleted,
        }


@dataclass(frozen=True)
class Delivery:
    """One commit of a cycle; a later one of the same cycle replaces it."""

    cycle: int
    facts: tuple[Fact, ...]

    @property
    def rows(self) -> list[dict]:
        return [fact.row(self.cycle) for fact in self.facts]


LATE = Fact("late", about=0, units=9, deleted=False, known_from_its_day=True)
TENDED = "tended"
facts = st.builds(
    Fact, st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans()
)  # few values, so that keys meet again
deliveries = st.builds(
    Delivery,
    st.integers(0, DAYS - 1),
    st.lists(facts, max_size=4, unique_by=lambda fact: (fact.item, fact.about)).map(tuple),
)
nights = st.lists(deliveries, min_size=1, max_size=7).flatmap(
    lambda found: st.lists(st.sampled_from([*found, TENDED]), max_size=3).map(lambda again: [*found, *again])
)
"""Arrivals, corrections and deletions by cycles in any order; then some of them again, and housekeeping in between."""


def check(history: list, day: int, window: tuple[int, int], left_out: int) -> None:
    with TemporaryDirectory() as everything, TemporaryDirectory() as until_then:
        lake, seen = written(everything, history), rows_of(history)
        known = as_of(lake, day)
        assert known == oracle(seen, day)
        early = {cycle: [row for row in rows if row["known_on"] <= on(day)] for cycle, rows in seen.items()}
        assert as_of(written(until_then, [Given(cycle, rows) for cycle, rows in early.items()]), day) == known
        since, until = on(min(window)), on(max(window))
        within = as_of(lake, day, between=Between("date", since, until))
        assert within == [row for row in known if since <= row["date"] <= until]
        chosen = pa.table({"item": ["b"], "date": [since]})
        assert as_of(lake, day, among=chosen) == [row for row in known if (row["item"], row["date"]) == ("b", since)]
        pinned = lake.version(TABLE)
        lake.attempt(TABLE, cycle=on(DAYS)).commit(pa.Table.from_pylist([LATE.row(0)], schema=FACTS))
        assert as_of(lake, day, version=pinned) == known
        lake.attempt(TABLE, cycle=on(DAYS)).commit(FACTS.empty_table())
        others = {cycle: rows for cycle, rows in seen.items() if cycle != left_out}
        assert as_of(lake, day, without_cycle=on(left_out)) == oracle(others, day)
        tend(lake, TABLE, versions_days=0)
        assert len(lake.open(TABLE).file_uris()) <= 1
        assert as_of(lake, day) == known


@dataclass(frozen=True)
class Given:
    """A commit by its rows."""

    cycle: int
    rows: list[dict] = field(default_factory=list)


def written(folder: str, history: Iterable) -> Lake:
    lake = Lake(folder)
    lake.attempt(TABLE, cycle=on(-1)).commit(FACTS.empty_table())
    for step in history:
        if step == TENDED:
            tend(lake, TABLE, versions_days=0)
        else:
            lake.attempt(TABLE, cycle=on(step.cycle)).commit(pa.Table.from_pylist(step.rows, schema=FACTS))
    return lake


def rows_of(history: list) -> dict[int, list[dict]]:
    """Return what each cycle has left: its last commit."""
    return {step.cycle: step.rows for step in history if step != TENDED}


def oracle(seen: dict[int, list[dict]], day: int) -> list[dict]:
    revisions = [
        row | {"cycle": on(cycle)} for cycle, rows in seen.items() for row in rows if row["known_on"] <= on(day)
    ]
    latest = {}
    for row in sorted(revisions, key=lambda row: (row["known_on"], row["cycle"])):
        latest[row["item"], row["date"]] = row
    kept = [{name: row[name] for name in row if name != "deleted"} for row in latest.values() if not row["deleted"]]
    return sorted(kept, key=by_key)


def as_of(lake: Lake, day: int, **narrowed) -> list[dict]:
    return sorted(lake.as_of("sales", KEY, on(day), **narrowed).to_pylist(), key=by_key)


def by_key(row: dict) -> tuple:
    return tuple(row[name] for name in KEY)


def on(day: int) -> date:
    return DAY + timedelta(days=day)


history_and_questions = given(
    history=nights,
    day=st.integers(0, DAYS - 1),
    window=st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
    left_out=st.integers(0, DAYS - 1),
)


@settings(max_examples=8, deadline=None)
@history_and_questions
@pytest.mark.slow
def test_as_of_equals_a_naive_oracle_and_is_deaf_to_what_is_learnt_later(history, day, window, left_out) -> None:
    check(history, day, window, left_out)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@history_and_questions
def test_as_of_equals_a_naive_oracle_for_many_histories(history, day, window, left_out) -> None:
    check(history, day, window, left_out)


def test_a_correction_a_deletion_and_a_return_are_each_known_from_their_day(lake: Lake) -> None:
    revisions = [(0, 5, False), (2, 6, False), (4, 6, True), (6, 7, False)]
    for cycle, number, deleted in revisions:
        fact = Fact("a", about=0, units=number, deleted=deleted, known_from_its_day=False)
        table = pa.Table.from_pylist([fact.row(cycle)], schema=FACTS)
        lake.attempt(TABLE, cycle=on(cycle)).commit(table)
    known = [[row["units"] for row in as_of(lake, day)] for day in range(-1, 8)]
    assert known == [[], [5], [5], [6], [6], [], [], [7], [7]]


@pytest.mark.parametrize(
    "narrowed", [{"between": Between("known_on", DAY, DAY)}, {"among": pa.table({"known_on": [DAY]})}]
)
def test_facts_are_chosen_by_columns_of_the_key(tmp_path: Path, narrowed: dict) -> None:
    lake = written(str(tmp_path), [])
    with pytest.raises(ValueError, match="'known_on' is not part of the key"):
        lake.as_of("sales", KEY, DAY, **narrowed)


def test_facts_about_everything_are_among_those_of_each_key(tmp_path: Path) -> None:
    key, lake = FEEDS["promotions"].key, Lake(str(tmp_path))
    places = [("a", "north"), ("a", "*"), ("*", "north"), ("*", "*"), ("a", "south"), ("b", "*"), ("b", "north")]
    facts = [
        {"known_on": DAY, "item": item, "location": location, "category": "c", "start": DAY, "kind": "x"}
        | {"deleted": False}
        for item, location in places
    ]
    lake.attempt("facts/promotions", cycle=DAY).commit(pa.Table.from_pylist(facts))

    def chosen(among: pa.Table) -> list[tuple[str, str]]:
        found = lake.as_of("promotions", key, DAY, columns=["item", "location"], among=among)
        return sorted(tuple(row.values()) for row in found.to_pylist())

    assert chosen(pa.table({"item": ["a"], "location": ["north"]})) == sorted(places[:4])
    assert chosen(pa.table({"item": ["a", "a", "z"]})) == sorted(places[:5])
    assert chosen(pa.table({"location": ["south"], "item": ["b"]})) == sorted([("*", "*"), ("b", "*")])
    assert chosen(pa.table({"item": pa.array([], pa.string())})) == []


def test_columns_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    one = Fact("a", 0, 1, deleted=False, known_from_its_day=False).row(0)
    many = {name: pa.repeat(pa.scalar(value, FACTS.field(name).type), 10_000) for name, value in one.items()}
    table = pa.table(many | {"item": pa.array(range(10_000)).cast(pa.string())}, schema=FACTS)
    lake.attempt(TABLE, cycle=on(0)).commit(table)
    (file,) = lake.open(TABLE).file_uris()
    assert spoil_outside(Path(file), Between("date", on(5), on(5))) == 1
    assert lake.as_of("sales", KEY, on(0), columns=["item", "date"]).column_names == ["item", "date"]
    with lake.known("sales", KEY, on(0), among=pa.table({"item": ["7"]})) as connection:
        assert connection.sql("SELECT item, count(*) FROM facts GROUP BY item").fetchall() == [("7", 1)]
    with pytest.raises(duckdb.Error):
        lake.as_of("sales", KEY, on(0))


@pytest.mark.parametrize("tended", [False, True])
def test_a_window_opens_only_the_files_and_row_groups_that_it_touches(tmp_path: Path, *, tended: bool) -> None:
    """A column is made unreadable everywhere but in the window: whoever reads beyond it fails."""
    lake = Lake(str(tmp_path))
    for night in range(6):
        one = Fact("a", night, 1, deleted=False, known_from_its_day=False).row(night)
        many = {name: pa.repeat(pa.scalar(value, FACTS.field(name).type), 30_000) for name, value in one.items()}
        table = pa.table(many | {"item": pa.array(range(30_000)).cast(pa.string())}, schema=FACTS)
        lake.attempt(TABLE, cycle=on(night)).commit(table)
    if tended:
        tend(lake, TABLE, versions_days=0)
    window = Between("date", on(5), on(5))
    spoilt = sum(spoil_outside(Path(file), window) for file in lake.open(TABLE).file_uris())
    assert spoilt == (1 if tended else 5)
    assert lake.as_of("sales", KEY, on(5), between=window).num_rows == 30_000
    with pytest.raises(duckdb.Error):
        lake.as_of("sales", KEY, on(5))


def spoil_outside(file: Path, window: Between) -> int:
    """Overwrite the numbers in each row group outside the window, and return in how many."""
    footer, content = pq.read_metadata(file), bytearray(file.read_bytes())
    spoilt = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
        days = columns["date"].statistics
        if days.max < window.since or days.min > window.until:
            start, size = columns["units"].data_page_offset, columns["units"].total_compressed_size
            start = min(start, columns["units"].dictionary_page_offset or start)
            content[start : start + size] = b"\xff" * size
            spoilt += 1
    file.write_bytes(content)
    return spoilt
