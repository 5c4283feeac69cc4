"""What can go wrong between a source and the lake: it ends with one clear sentence, and a lake as before or as new."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipeline import collect, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import FencedError, GateError, SourceUnavailableError
from pipeline.feeds import FEEDS, FeedName
from pipeline.lake import Attempt
from tests.conftest import AS_OF, MarketWriter

pytestmark = pytest.mark.slow

TABLES = ("facts/sales", "quarantine", "batches")
NIGHT = """
import sys
from datetime import date
from pipeline import collect, validate
from pipeline.cycle import open_cycle
from pipeline.errors import TrendmillError

cycle = open_cycle(sys.argv[1], date.fromisoformat(sys.argv[2]))
try:
{work}
except TrendmillError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""
KILLED_COMMIT = """
    import os, signal
    from pipeline.lake import Attempt
    commit = Attempt.commit
    def commit_or_die(attempt, *arguments):
        if attempt.table == {table!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(attempt, *arguments)
    Attempt.commit = commit_or_die
    validate.run(cycle, "sales")
"""
SMALL_FILES = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


def night(file: Path, work: str) -> list[str]:
    """Return the command of a process that works on the small market's cycle."""
    return [sys.executable, "-c", NIGHT.format(work=work), str(file), str(AS_OF)]


def gate(cycle: Cycle, feed: FeedName = "sales") -> validate.ValidateReport:
    collect.run(cycle, feed)
    return validate.run(cycle, feed)


def edit(file: Path, change) -> None:
    """Change the small market's sales where they lie."""
    path = file.parent / "sales.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def lake_of(cycle: Cycle) -> dict[str, Any]:
    """Return all rows of the tables that the gate writes."""
    tables = {name: cycle.lake.read(name) for name in TABLES if cycle.lake.exists(name)}
    return {name: sorted(map(repr, table.to_pylist())) for name, table in tables.items()}


def test_dirty_rows_wait_in_quarantine_and_spoil_nothing(small_market: MarketWriter, home: Home) -> None:
    clean = open_cycle(small_market(), AS_OF, Home(home.path / "clean"))
    gate(clean)
    file = small_market()
    dirt = [
        {"units": "nan"},
        {"units": "inf"},
        {"units": "a few"},
        {"revenue": "-inf"},
        {"revenue": -3},
        {"units": 0},
        {"date": "2021-02-30"},
        {"sku": ""},
    ]
    line = {"invoice": "dirt", "sku": "SKU03", "date": "2021-05-05", "units": 1, "revenue": 3.0, "client": "x"}
    future = line | {"date": str(AS_OF + timedelta(days=1)), "units": 99}
    dirty = pd.DataFrame([*(line | changes for changes in dirt), future])
    edit(file, lambda sales: pd.concat([sales.astype(object), dirty]))
    cycle = open_cycle(file, AS_OF, home)
    report = gate(cycle)
    assert report.landed == report.accepted + report.quarantined + report.duplicates
    rules = cycle.lake.read("quarantine")["rule"].to_pylist()
    own = ["units_not_zero", "units_plausible"]  # those of the small market itself
    told = ["units_finite", "units_finite", "units_present", "revenue_finite", "unit_price_not_negative"]
    assert sorted(rules) == sorted([*own, *told, "units_not_zero", "date_present", "item_present"])
    assert lake_of(cycle)["facts/sales"] == lake_of(clean)["facts/sales"]


def test_ten_times_the_usual_volume_is_refused(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    for shift in range(2):
        gate(open_cycle(file, AS_OF + timedelta(days=shift), home))
    edit(file, lambda sales: pd.concat([sales.assign(invoice=sales["invoice"] + f"-{copy}") for copy in range(10)]))
    third = open_cycle(file, AS_OF + timedelta(days=2), home)
    before = lake_of(third)
    with pytest.raises(GateError, match=r"rows a day is .*, where .* are usual.*5 times.*'volume'"):
        gate(third)
    assert lake_of(third) == before


@pytest.mark.parametrize("kept", ["SKU00", "SKU01"])
def test_day_that_the_source_has_lost_is_refused_and_not_deleted(
    small_market: MarketWriter, home: Home, kept: str
) -> None:
    file = small_market()
    gate(open_cycle(file, AS_OF, home))
    lost = AS_OF - timedelta(days=3)
    edit(file, lambda sales: sales[~((sales["date"] == str(lost)) & (sales["sku"] >= kept))])
    tomorrow = open_cycle(file, AS_OF + timedelta(days=1), home)
    before = lake_of(tomorrow)
    with pytest.raises(GateError, match=f"too little landed of {lost}, whose facts the lake holds"):
        gate(tomorrow)
    assert lake_of(tomorrow) == before


def test_plan_that_is_withdrawn_is_no_lost_day(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    prices = pd.read_parquet(file.parent / "prices.parquet")
    gate(open_cycle(file, AS_OF, home), "prices")
    kept = prices[prices["date"] <= AS_OF + timedelta(days=3)]
    kept.to_parquet(file.parent / "prices.parquet", index=False)
    tomorrow = open_cycle(file, AS_OF + timedelta(days=1), home)
    gate(tomorrow, "prices")
    facts = tomorrow.lake.as_of("prices", FEEDS["prices"].key, tomorrow.as_of)
    assert max(facts["date"].to_pylist()) == AS_OF + timedelta(days=3)


def test_day_that_no_calendar_has_is_missing_and_spoils_no_table(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    never = pd.read_parquet(file.parent / "catalogue.parquet").assign(discontinued="99999-12-31")
    never.to_csv(file.parent / "catalogue.csv", index=False)
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["feeds"]["catalogue"]["path"] = "catalogue.csv"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    for day in (AS_OF, AS_OF + timedelta(days=1)):
        cycle = open_cycle(file, day, home)
        gate(cycle, "catalogue")
    facts = cycle.lake.as_of("catalogue", FEEDS["catalogue"].key, cycle.as_of)
    assert facts.num_rows == facts["discontinued"].null_count == len(never)


def test_newest_day_without_a_row_is_refused_where_shops_never_close(small_market: MarketWriter, home: Home) -> None:
    file = small_market(gate={"max_age_days": 0})
    edit(file, lambda sales: sales[sales["date"] < str(AS_OF)])
    with pytest.raises(GateError, match=f"newest row is about {AS_OF - timedelta(days=1)}"):
        gate(open_cycle(file, AS_OF, home))


def test_source_that_breaks_off_leaves_nothing_behind(small_cycle: Cycle, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.collect import collect as stage

    open_source = stage.open_source

    class BreakingOff:
        """A real source whose line goes dead after the first rows."""

        def __init__(self, source):
            self.grain = source.grain
            self.source = source

        def fetch(self, feed, window):
            for batch in self.source.fetch(feed, window):
                yield batch.slice(0, 10)
                msg = "The database does not answer any more."
                raise SourceUnavailableError(msg)

    monkeypatch.setattr(stage, "open_source", lambda *arguments: BreakingOff(open_source(*arguments)))
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        collect.run(small_cycle, "sales")
    assert list(small_cycle.landing_dir("sales").parent.iterdir()) == []


@pytest.mark.slow
def test_two_collectors_and_two_gates_at_once_end_as_one(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    alone = open_cycle(file, AS_OF, Home(home.path / "alone"))
    gate(alone)
    work = "    for _ in range(5): collect.run(cycle, 'sales')\n    validate.run(cycle, 'sales')"
    both = [subprocess.Popen(night(file, work), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    cycle = open_cycle(file, AS_OF, home)
    assert [path.name for path in cycle.landing_dir("sales").parent.iterdir()] == [str(AS_OF)]
    # Of two gates at once, one may find the other's commit or landing; it says so, and may simply be tried again.
    assert 0 in [process.returncode for process in both], told
    for process, words in zip(both, told, strict=True):
        assert process.returncode == 0 or words.strip().splitlines()[-1].startswith("FencedError: Another attempt")
    validate.run(cycle, "sales")
    assert lake_of(cycle) == lake_of(alone)


@pytest.mark.slow
def test_full_disk_is_told_in_one_sentence_and_leaves_the_lake_as_it_was(
    small_market: MarketWriter, home: Home
) -> None:
    file = small_market()
    command = night(file, SMALL_FILES.format(limit=4096) + "    collect.run(cycle, 'sales')")
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    told = ended.stderr.strip().splitlines()[-1]
    assert told.startswith(f"StageError: The batch 'sales' of small/{AS_OF} cannot be written to ")
    cycle = open_cycle(file, AS_OF, home)
    assert list(cycle.landing_dir("sales").parent.iterdir()) == []

    collect.run(cycle, "sales")
    command = night(file, SMALL_FILES.format(limit=4096) + "    validate.run(cycle, 'sales')")
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.stderr.strip().splitlines()[-1].startswith("StageError: The batch 'sales'"), ended.stderr
    assert lake_of(cycle).get("facts/sales", []) == []
    assert validate.run(cycle, "sales").revised == len(lake_of(cycle)["facts/sales"])


@pytest.mark.slow
def test_kill_at_any_point_is_healed_by_another_run(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    undisturbed = open_cycle(file, AS_OF, Home(home.path / "undisturbed"))
    gate(undisturbed)
    cycle = open_cycle(file, AS_OF, home)
    collect.run(cycle, "sales")
    for table, known in (("quarantine", 0), ("facts/sales", 1), ("batches", 2)):
        child = subprocess.run(night(file, KILLED_COMMIT.format(table=table)), check=False)
        assert child.returncode == -signal.SIGKILL
        assert sum(cycle.lake.exists(name) for name in TABLES) == known
        assert collect.run(cycle, "sales").initial
    left = [path.name for path in cycle.landing_dir("sales").parent.iterdir()]
    assert left == [str(AS_OF)], "what killed attempts have left is gone"
    validate.run(cycle, "sales")
    assert lake_of(cycle) == lake_of(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "reached"), [("quarantine", "facts/sales"), ("facts/sales", "batches")])
def test_tables_never_tell_of_two_attempts(
    small_market: MarketWriter, home: Home, monkeypatch: pytest.MonkeyPatch, table: str, reached: str
) -> None:
    """After the commit of one table another attempt comes in between, and is killed before it reaches the next one."""
    file = small_market()
    cycle = open_cycle(file, AS_OF, home)
    collect.run(cycle, "sales")
    commit = Attempt.commit

    def commit_and_be_overtaken(attempt, *arguments):
        done = commit(attempt, *arguments)
        if attempt.table == table:
            edit(file, lambda sales: sales.assign(units=2 * sales["units"]))
            work = "    collect.run(cycle, 'sales')" + KILLED_COMMIT.format(table=reached)
            assert subprocess.run(night(file, work), check=False).returncode == -signal.SIGKILL
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "commit", commit_and_be_overtaken)
        with pytest.raises(FencedError, match="Another attempt has committed"):
            validate.run(cycle, "sales")
    assert not cycle.lake.exists("batches")
    alone = open_cycle(file, AS_OF, Home(home.path / "alone"))
    gate(alone)
    validate.run(cycle, "sales")
    assert lake_of(cycle) == lake_of(alone)


def test_kill_while_landing_leaves_the_older_batch(small_cycle: Cycle) -> None:
    collect.run(small_cycle, "catalogue")
    before = collect.landed(small_cycle, "catalogue")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # dies in the middle of landing, without any clean-up
        with collect.land(
            small_cycle, "catalogue", grain="facts", since=before.since, until=before.until, initial=True
        ) as landing:
            landing.write(before.read().slice(0, 3).to_batches()[0])
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    folder = small_cycle.landing_dir("catalogue")
    assert len(list(folder.parent.iterdir())) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert collect.landed(small_cycle, "catalogue") == before
    collect.run(small_cycle, "catalogue")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert FEEDS["catalogue"].day is None
