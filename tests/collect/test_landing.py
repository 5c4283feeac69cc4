"""The landing zone: whole or not at all, sorted by day within a part, readable day by day."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import collect
from pipeline.collect import landing as zone
from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.feeds import FEEDS
from tests.conftest import AS_OF, HISTORY_START

DAYS = [AS_OF - timedelta(days=shift) for shift in range(3)]


def lines(days: list[date | None], start: int = 0) -> pa.RecordBatch:
    """Return an order line of each day."""
    rows = [
        {"order_id": f"A{start + number}", "item": "SKU01", "location": "all", "date": day, "units": 1.0}
        for number, day in enumerate(days)
    ]
    columns = [column.with_nullable(nullable=True) for column in FEEDS["sales"].landed_schema("lines")]
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(columns))


def open_batch(cycle: Cycle):
    return collect.land(cycle, "sales", grain="lines", since=HISTORY_START, until=AS_OF, initial=True)


def test_parts_are_sorted_by_day_and_the_manifest_counts_them(
    small_cycle: Cycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone, "PART_ROWS", 4)
    with open_batch(small_cycle) as landing:
        landing.write(lines([DAYS[0], None, DAYS[2], DAYS[0]]))
        landing.write(lines([DAYS[1], DAYS[0], DAYS[1]], start=4))
    landed = collect.landed(small_cycle, "sales")
    assert (landed.rows, landed.undated, len(landed.parts)) == (7, 1, 2)
    assert landed.days == {DAYS[0]: 3, DAYS[1]: 2, DAYS[2]: 1}
    assert [pq.read_table(file)["date"].to_pylist() for file in landed.files] == [
        [DAYS[2], DAYS[0], DAYS[0], None],
        [DAYS[1], DAYS[1], DAYS[0]],
    ]
    assert landed.read()["order_id"].to_pylist() == ["A2", "A0", "A3", "A1", "A4", "A6", "A5"]


def test_row_groups_are_small_enough_to_read_a_day_alone(small_cycle: Cycle) -> None:
    with open_batch(small_cycle) as landing:
        landing.write(lines(DAYS * 50_000))
    (file,) = collect.landed(small_cycle, "sales").files
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [
        65_536,
        65_536,
        18_928,
    ]


def test_batch_larger_than_a_part_is_cut(small_cycle: Cycle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone, "PART_ROWS", 2)
    with open_batch(small_cycle) as landing:
        landing.write(lines(DAYS))
    assert [pq.read_metadata(file).num_rows for file in collect.landed(small_cycle, "sales").files] == [2, 1]


def test_error_in_the_middle_leaves_the_older_batch(small_cycle: Cycle) -> None:
    with open_batch(small_cycle) as landing:
        landing.write(lines(DAYS))
    before = collect.landed(small_cycle, "sales")

    def broken_off() -> None:
        with open_batch(small_cycle) as landing:
            landing.write(lines(DAYS[:1]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert collect.landed(small_cycle, "sales") == before
    assert before.read().num_rows == 3
    assert [path.name for path in before.folder.parent.iterdir()] == [str(AS_OF)]


def test_batch_without_a_row_can_be_read(small_cycle: Cycle) -> None:
    with open_batch(small_cycle):
        pass
    landed = collect.landed(small_cycle, "sales")
    assert (landed.rows, landed.days, landed.undated, landed.read().num_rows) == (0, {}, 0, 0)


def test_folder_of_an_attempt_that_still_runs_is_left_alone(small_cycle: Cycle) -> None:
    with collect.scratch(small_cycle, "sales") as mine:
        with open_batch(small_cycle) as landing:
            landing.write(lines(DAYS))
            assert mine.exists()
        dead = mine.with_name(f".{AS_OF}.dead")
        dead.mkdir()
        with collect.scratch(small_cycle, "sales") as other:
            assert mine.exists()
            assert not dead.exists()
        assert not other.exists()
    assert not mine.exists()


def test_place_that_cannot_be_written_is_named(small_cycle: Cycle) -> None:
    place = small_cycle.landing_dir("sales").parent
    place.parent.mkdir(parents=True)
    place.symlink_to("/proc/nowhere")  # not even root may write there

    def write() -> None:
        with open_batch(small_cycle):
            pass

    with pytest.raises((StageError, OSError)):
        write()
    assert not Path("/proc/nowhere").exists()
