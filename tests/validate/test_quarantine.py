"""The life of a bad row: listed once, released into the facts of a day or discarded; and the ledger that counts it."""

import json
import math
import shutil
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import collect, validate
from pipeline.cli import main
from pipeline.collect import land
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.feeds import FEEDS
from pipeline.validate.decisions import release, released_ids, released_rows
from pipeline.validate.quarantine import BadRow, Choice, bad_rows, find_bad_rows
from tests.conftest import AS_OF, MarketWriter, write_small_market

pytestmark = pytest.mark.slow

TODAY, TOMORROW = AS_OF + timedelta(days=1), AS_OF + timedelta(days=2)
"""The prepared market has had the night of `AS_OF`, with its whole history, and that of `TODAY`."""
IN_WINDOW, BEFORE_WINDOW = AS_OF - timedelta(days=2), AS_OF - timedelta(days=60)
BULK = 20_000


def sale(number: int, day: date | str, units: float) -> dict[str, object]:
    return {
        "invoice": f"bulk-{number}",
        "sku": f"SKU{number:02d}",
        "date": str(day),
        "units": units,
        "revenue": units * 1.5,
        "client": f"school-{number}@example.com",
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a market and a home after two nights with bad rows of every kind."""
    folder = tmp_path_factory.mktemp("quarantine")
    file = write_small_market(folder / "market")
    sales, prices = file.parent / "sales.csv", file.parent / "prices.parquet"
    bad = [sale(1, IN_WINDOW, BULK), sale(2, BEFORE_WINDOW, BULK), sale(3, "soon", 4), sale(4, IN_WINDOW, BULK)]
    pd.concat([pd.read_csv(sales), pd.DataFrame(bad)]).to_csv(sales, index=False)
    frame = pd.read_parquet(prices)
    frame.loc[(frame["item"] == "SKU05") & (frame["date"] == BEFORE_WINDOW), "price"] = -1.0
    frame.to_parquet(prices, index=False)
    for day in (AS_OF, TODAY):
        if day == TODAY:
            mended = pd.read_csv(sales)
            mended.loc[mended["invoice"] == "bulk-4", "units"] = 2
            mended.to_csv(sales, index=False)
        for feed in ("sales", "prices"):
            cycle = open_cycle(file, day, Home(folder / "home"))
            collect.run(cycle, feed)
            validate.run(cycle, feed)
    return folder


@pytest.fixture
def market(prepared: Path, home: Home, tmp_path: Path) -> Path:
    """Return the market's file in a home of its own, as two nights have left it."""
    shutil.copytree(prepared / "home", home.path)
    return shutil.copytree(prepared / "market", tmp_path / "shop") / "small.yaml"


@pytest.fixture
def today(market: Path, home: Home) -> Cycle:
    return open_cycle(market, TODAY, home)


@pytest.fixture
def say(market: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs a command on the market and returns exit code, output and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        at = 2 if words[0] == "quarantine" else 1
        line = [*map(str, words[:at]), str(market), *map(str, words[at:])]
        monkeypatch.setattr(sys, "argv", ["trendmill", *line])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def row_of(cycle: Cycle, order: str) -> BadRow:
    found = [row for row in bad_rows(cycle.lake, Choice()) if row.content.get("order_id") == order]
    assert len(found) == 1, found
    return found[0]


def bad_price(cycle: Cycle) -> BadRow:
    (row,) = bad_rows(cycle.lake, Choice(feeds=["prices"]))
    return row


def fact(cycle: Cycle, feed: str, item: str, day: date) -> dict[str, object] | None:
    known = cycle.lake.as_of(feed, FEEDS[feed].key, cycle.as_of).to_pylist()
    return next((row for row in known if (row["item"], row["date"]) == (item, day)), None)


def units(cycle: Cycle, item: str, day: date) -> float:
    return (fact(cycle, "sales", item, day) or {"units": 0})["units"]


def ledger(cycle: Cycle) -> dict[str, object]:
    (row,) = cycle.lake.read("batches", cycle=cycle.as_of, feed="sales").to_pylist()
    return row


def gate(cycle: Cycle, feed: str = "sales") -> validate.ValidateReport:
    collect.run(cycle, feed)
    return validate.run(cycle, feed)


def test_each_bad_row_is_listed_once_with_the_nights_that_met_it(say, today: Cycle) -> None:
    code, out, _ = say("quarantine", "list", "--json", "--status", "all")
    rows = {row["row"].get("order_id", "price"): row for row in json.loads(out)}
    assert code == 0
    assert len(rows) == len(json.loads(out)) == 7
    assert rows["bulk-1"]["rule"] == "units_plausible"
    assert (rows["bulk-1"]["first_seen"], rows["bulk-1"]["last_seen"]) == (str(AS_OF), str(TODAY))
    assert (rows["bulk-2"]["first_seen"], rows["bulk-2"]["last_seen"]) == (str(AS_OF), str(AS_OF))
    assert (rows["bulk-3"]["day"], rows["bulk-3"]["rule"]) == (None, "date_present")
    assert (rows["price"]["feed"], rows["price"]["grain"], rows["price"]["day"]) == (
        "prices",
        "facts",
        str(BEFORE_WINDOW),
    )
    assert {row["status"] for order, row in rows.items() if order != "bulk-4"} == {"open"}
    assert "example.com" not in out


def test_row_that_was_mended_in_its_source_is_gone(say, today: Cycle) -> None:
    assert row_of(today, "bulk-4").status == "gone"
    assert "bulk-4" not in say("quarantine", "list")[1]
    assert "bulk-4" in say("quarantine", "list", "--status", "gone")[1]


def test_list_counts_by_rule_and_stops_at_the_limit(say, today: Cycle) -> None:
    _, out, _ = say("quarantine", "list", "--feed", "sales", "--limit", "1")
    counts = [line.split() for line in out.split("\n\n")[0].splitlines()]
    assert ["sales", "units_plausible", "open", "3"] in [words[:4] for words in counts]
    assert "Shown are 1 of 5 rows" in out
    assert "no such open rows" in say("quarantine", "list", "--rule", "unheard_of")[1]


def test_show_tells_everything_of_a_row(say, today: Cycle) -> None:
    row = row_of(today, "bulk-1")
    say("quarantine", "discard", row.id, "--date", TODAY, "--note", "a typing error")
    _, out, _ = say("quarantine", "show", row.id[:4])
    for word in (row.id, "units_plausible", "SKU01", "20000", f"by 2 cycles, {AS_OF} to {TODAY}", "a typing error"):
        assert word in out
    assert json.loads(say("quarantine", "show", row.id, "--json")[1])["cycles"] == [str(AS_OF), str(TODAY)]


def test_released_row_of_the_window_becomes_known_today(say, market: Path, today: Cycle, home: Home) -> None:
    before, counted = units(today, "SKU01", IN_WINDOW), ledger(today)
    code, out, err = say("quarantine", "release", row_of(today, "bulk-1").id, "--date", TODAY)
    assert code == 0, err
    assert f"quarantined {counted['quarantined']} -> {counted['quarantined'] - 1}" in out
    assert units(today, "SKU01", IN_WINDOW) == before + BULK
    assert units(open_cycle(market, AS_OF, home), "SKU01", IN_WINDOW) == before
    after = ledger(today)
    assert (after["accepted"], after["quarantined"]) == (counted["accepted"] + 1, counted["quarantined"] - 1)
    assert row_of(today, "bulk-1").status == "released"


def test_released_row_from_before_the_window_is_added_to_what_was_known(
    say, market: Path, today: Cycle, home: Home
) -> None:
    before, counted = fact(today, "sales", "SKU02", BEFORE_WINDOW), ledger(today)
    assert say("quarantine", "release", row_of(today, "bulk-2").id, "--date", TODAY)[0] == 0
    after = fact(today, "sales", "SKU02", BEFORE_WINDOW)
    assert before
    assert after
    assert (after["units"], after["orders"]) == (before["units"] + BULK, before["orders"] + 1)
    assert after["known_on"] == TODAY
    assert fact(open_cycle(market, AS_OF, home), "sales", "SKU02", BEFORE_WINDOW) == before
    assert {name: ledger(today)[name] for name in ("landed", "accepted", "quarantined", "duplicates")} == {
        name: counted[name] for name in ("landed", "accepted", "quarantined", "duplicates")
    }


@pytest.mark.slow
def test_released_fact_from_before_the_window_stands_for_itself(say, market: Path, today: Cycle, home: Home) -> None:
    assert fact(today, "prices", "SKU05", BEFORE_WINDOW) is None
    assert say("quarantine", "release", bad_price(today).id, "--date", TODAY)[0] == 0
    assert (fact(today, "prices", "SKU05", BEFORE_WINDOW) or {})["price"] == -1
    assert fact(open_cycle(market, AS_OF, home), "prices", "SKU05", BEFORE_WINDOW) is None


@pytest.mark.slow
def test_gate_may_run_again_after_a_release_and_the_next_night_has_nothing_to_add(
    say, market: Path, today: Cycle, home: Home
) -> None:
    ids = [row_of(today, order).id for order in ("bulk-1", "bulk-2")]
    say("quarantine", "release", *ids, "--date", TODAY)
    tables = ("facts/sales", "quarantine", "batches", "decisions")
    versions = [today.lake.version(table) for table in tables]
    validate.run(today, "sales")
    assert [today.lake.version(table) for table in tables] == versions
    tomorrow = open_cycle(market, TOMORROW, home)
    gate(tomorrow)
    written = tomorrow.lake.read("facts/sales", cycle=TOMORROW).to_pylist()
    assert {row["date"] for row in written} == {TOMORROW}
    assert not {row["id"] for row in tomorrow.lake.read("quarantine", cycle=TOMORROW).to_pylist()} & set(ids)


@pytest.mark.slow
def test_release_before_the_night_takes_effect_with_its_collection(say, market: Path, today: Cycle, home: Home) -> None:
    before = [units(today, "SKU01", IN_WINDOW), units(today, "SKU02", BEFORE_WINDOW)]
    ids = [row_of(today, order).id for order in ("bulk-1", "bulk-2")]
    code, out, _ = say("quarantine", "release", *ids, "--date", TOMORROW)
    assert code == 0
    assert "takes effect with that night's collection" in out
    tomorrow = open_cycle(market, TOMORROW, home)
    assert [units(tomorrow, "SKU01", IN_WINDOW), units(tomorrow, "SKU02", BEFORE_WINDOW)] == before
    gate(tomorrow)
    after = [units(tomorrow, "SKU01", IN_WINDOW), units(tomorrow, "SKU02", BEFORE_WINDOW)]
    assert after == [count + BULK for count in before]
    assert [units(today, "SKU01", IN_WINDOW), units(today, "SKU02", BEFORE_WINDOW)] == before


@pytest.mark.slow
def test_all_rows_of_a_rule_are_released_but_those_that_cannot_be(say, today: Cycle) -> None:
    code, out, _ = say("quarantine", "release", "--all-of-rule", "units_plausible", "--date", TODAY)
    assert code == 0
    assert "Released 3 rows of 'sales'" in out
    assert {row_of(today, order).status for order in ("bulk-1", "bulk-2")} == {"released"}
    code, _, err = say("quarantine", "release", "--all-of-rule", "date_present", "--date", TODAY)
    assert code == 1
    assert "column 'date' is missing or cannot be read" in err
    code, _, err = say("quarantine", "release", "--all-of-rule", "units_plausible", "--date", TODAY)
    assert (code, "nothing was released" in err) == (1, True)


@pytest.mark.parametrize(
    ("order", "day", "words"),
    [
        ("bulk-1", AS_OF, f"passed the gate for {TODAY} already.*give --date {TODAY}"),
        (
            "bulk-3",
            TODAY,
            "cannot be released, because its column 'date' is missing.*mend it in the source, or discard",
        ),
        ("bulk-4", TODAY, f"has left its source since {AS_OF}"),
    ],
)
def test_what_cannot_be_released_is_told_in_one_sentence(say, today: Cycle, order: str, day: date, words: str) -> None:
    code, _, err = say("quarantine", "release", row_of(today, order).id, "--date", day)
    assert code == 1
    assert pd.Series([err]).str.contains(words, regex=True).all(), err
    assert len(err.strip().splitlines()) == 1
    assert not today.lake.exists("decisions")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("release", "ab1", "--date", TODAY), "too short"),
        (("release", "zzzzzz", "--date", TODAY), "has no row 'zzzzzz'"),
        (("discard", "zzzzzz", "--date", TODAY), "has no row 'zzzzzz'"),
        (("show", "zzzzzz"), "has no row 'zzzzzz'"),
        (("release", "--date", TODAY), "either the ids"),
        (("list", "--feed", "stock"), "no feed 'stock'"),
    ],
)
def test_mistakes_are_one_sentence(say, words, told: str) -> None:
    code, _, err = say("quarantine", *words)
    assert code == 1
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_rows_of_several_feeds_are_decided_in_one_commit(say, today: Cycle) -> None:
    ids = [row_of(today, "bulk-1").id, bad_price(today).id]
    assert say("quarantine", "discard", *ids, "--date", TODAY)[0] == 0
    assert today.lake.commits_of("decisions", {"cycle": TODAY}) == 1
    assert say("quarantine", "discard", row_of(today, "bulk-2").id, "--date", TODAY)[0] == 0
    held = today.lake.read("decisions").sort_by("number").to_pylist()
    assert [(row["feed"], row["id"]) for row in held[:2]] == [("sales", ids[0]), ("prices", ids[1])]
    assert [row["number"] for row in held] == [0, 1, 2]


def test_beginning_of_two_ids_must_be_longer(say, today: Cycle) -> None:
    rows = [(f"abcd{number}", date(2021, 7, 1), {"order_id": f"o{number}"}) for number in range(2)]
    hold(open_cycle(today.market.file, TOMORROW, today.home), "sales", "lines", rows)
    code, _, err = say("quarantine", "show", "abcd")
    assert (code, "stands for 2 rows (abcd0, abcd1)" in err) == (1, True)
    assert find_bad_rows(today.lake, "small", ["abcd1", "ABCD1"])[0].id == "abcd1"


@pytest.mark.slow
def test_decided_row_is_not_decided_twice_but_may_be_decided_otherwise(say, today: Cycle) -> None:
    row = row_of(today, "bulk-1")
    before = units(today, "SKU01", IN_WINDOW)
    assert say("quarantine", "discard", row.id, "--date", TODAY)[0] == 0
    assert f"was discarded on {TODAY} already" in say("quarantine", "discard", row.id, "--date", TODAY)[2]
    assert units(today, "SKU01", IN_WINDOW) == before
    say("quarantine", "release", row.id, "--date", TODAY, "--note", "it was a school")
    assert units(today, "SKU01", IN_WINDOW) == before + BULK
    assert f"was released on {TODAY} already" in say("quarantine", "release", row.id, "--date", TODAY)[2]
    say("quarantine", "discard", row.id, "--date", TODAY)
    assert units(today, "SKU01", IN_WINDOW) == before
    history = json.loads(say("quarantine", "show", row.id, "--json")[1])["decisions"]
    assert [step["decision"] for step in history] == ["discarded", "released", "discarded"]
    assert history[1]["note"] == "it was a school"


@pytest.mark.slow
def test_fact_of_an_earlier_day_cannot_be_taken_back_beyond_the_window(say, market: Path, today: Cycle) -> None:
    rows = [row_of(today, order) for order in ("bulk-1", "bulk-2")]
    say("quarantine", "release", *(row.id for row in rows), "--date", TODAY)
    assert say("quarantine", "discard", rows[0].id, "--date", TOMORROW)[0] == 0
    code, _, err = say("quarantine", "discard", rows[1].id, "--date", TOMORROW)
    assert (code, f"became a fact on {TODAY}" in err) == (1, True)


def test_decision_counts_from_its_day_on(today: Cycle, market: Path, home: Home) -> None:
    row = row_of(today, "bulk-2")
    tomorrow = open_cycle(market, TOMORROW, home)
    release(tomorrow, [row])
    assert released_ids(today, "sales").num_rows == 0
    assert released_ids(tomorrow, "sales")["id"].to_pylist() == [row.id]
    assert released_ids(tomorrow, "prices").num_rows == 0


AWKWARD = {
    pa.string(): ['a "quoted" \\ text, with\nlines', "ünïcode – 中文", ""],
    pa.float64(): [0.1 + 0.2, 1e12, -5e-324],
    pa.int64(): [2**60 + 1, 0, -1],
    pa.date32(): [date(1970, 1, 1), date(2024, 2, 29), date(2020, 5, 5)],
    pa.bool_(): [True, False, None],
    pa.timestamp("us"): [
        datetime.fromisoformat(text) for text in ("2021-01-01T23:59:59.999999", "2021-01-01", "1969-07-20T20:17")
    ],
}


def hold(cycle: Cycle, feed: str, grain: str, rows: list[tuple[str, date | None, object]], copies: int = 1) -> None:
    """Write rows into the quarantine as the gate does."""
    kept = [
        {
            "id": name,
            "rule": "any",
            "reason": "for a test",
            "day": day,
            "grain": grain,
            "row": text if isinstance(text, str) else json.dumps(text),
        }
        for name, day, text in rows
        for _ in range(copies)
    ]
    schema = pa.schema(
        [
            (name, pa.date32() if name == "day" else pa.string())
            for name in ("id", "rule", "reason", "day", "grain", "row")
        ]
    )
    cycle.lake.attempt("quarantine", cycle=cycle.as_of, feed=feed).commit(pa.Table.from_pylist(kept, schema=schema))


@pytest.mark.parametrize(
    ("feed", "grain"),
    [(name, "facts") for name, feed in FEEDS.items() if feed.day] + [("sales", "lines"), ("behaviour", "lines")],
)
def test_released_row_has_its_types_again(small_market: MarketWriter, home: Home, feed: str, grain: str) -> None:
    cycle = open_cycle(small_market(), AS_OF, home)
    contract = FEEDS[feed]
    schema = pa.schema([field for field in contract.landed_schema(grain) if field.name not in contract.personal])
    rows = pa.table({field.name: pa.array(AWKWARD[field.type], field.type) for field in schema})
    day = date(2021, 1, 5)
    rows = rows.set_column(schema.get_field_index(contract.day), contract.day, pa.array([day] * 3, pa.date32()))
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        texts = [text for (text,) in connection.sql("SELECT to_json(rows)::VARCHAR FROM rows").fetchall()]
    hold(cycle, feed, grain, [(f"id{number}-{feed}", day, text) for number, text in enumerate(texts)], copies=2)
    release(cycle, bad_rows(cycle.lake, Choice(feeds=[feed])))
    with land(cycle, feed, grain=grain, since=AS_OF, until=AS_OF, initial=False):
        pass
    found = released_rows(cycle, feed, AS_OF, AS_OF)
    assert found is not None
    assert found.schema.equals(schema)
    assert found.to_pylist() == [row for row in rows.to_pylist() for _ in range(2)]
    assert released_rows(cycle, feed, day, AS_OF) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"item": None}, "column 'item' is missing"),
        ({"units": math.nan}, "column 'units' is nan"),
        ({"revenue": -math.inf}, "column 'revenue' is -inf"),
        ({"date": "2021-09-01"}, "its day 2021-09-01 lies after"),
    ],
)
def test_row_that_can_be_no_fact_is_not_released(say, today: Cycle, change: dict[str, object], word: str) -> None:
    row = {"order_id": "o", "item": "SKU01", "location": "all", "date": str(IN_WINDOW), "units": 1.0} | change
    tomorrow = open_cycle(today.market.file, TOMORROW, today.home)
    hold(tomorrow, "sales", "lines", [("feedfeed", date.fromisoformat(str(row["date"])), row)])
    code, _, err = say("quarantine", "release", "feedfeed", "--date", TOMORROW)
    assert (code, word in err) == (1, True), err
    assert say("quarantine", "discard", "feedfeed", "--date", TOMORROW)[0] == 0


def test_ledger_balances_and_says_where_rows_went(say, today: Cycle) -> None:
    code, out, _ = say("batches", "--feed", "sales", "--last", "1")
    assert code == 0
    header, line = out.splitlines()
    assert header.split()[2:9] == ["landed", "=", "accepted", "+", "quarantined", "+", "duplicates"]
    held = ledger(today)
    counts = [f"{held[name]:,}" for name in ("landed", "accepted", "quarantined", "duplicates")]
    assert line.split()[:7] == [str(TODAY), "sales", *counts, "✓"]
    assert len(json.loads(say("batches", "--json")[1])) == 4
    assert {row["cycle"] for row in json.loads(say("batches", "--json", "--date", AS_OF)[1])} == {str(AS_OF)}
    assert "no such batch" in say("batches", "--date", "2021-02-01")[1]


@pytest.mark.parametrize("change", [{"accepted": 1}, {"quarantined": 7, "landed": 108}])
def test_ledger_that_does_not_balance_is_an_error(say, today: Cycle, change: dict[str, int]) -> None:
    line = ledger(today) | {"landed": 101, "accepted": 100, "quarantined": 0, "duplicates": 1} | change
    rows = pa.Table.from_pylist([{name: value for name, value in line.items() if name not in {"cycle", "feed"}}])
    today.lake.attempt("batches", cycle=TODAY, feed="sales").commit(rows)
    code, out, _ = say("batches")
    assert (code, "1 of 4 batches do not balance" in out, "✗" in out) == (1, True, True)
