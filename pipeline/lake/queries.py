"""Rows compared and sorted in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.bounded import bounded_duckdb, quoted

__all__ = ["same_rows", "sorted_batches"]

BATCH_ROWS = 64 * 1024


def same_rows(held: ds.Dataset, fresh: ds.Dataset, columns: list[str]) -> bool:
    """Return whether two sets hold the same rows equally often in some columns, in whatever order, in one pass each.

    Rows are compared by the sum of their 64-bit hashes and their number, so that memory does not grow with them. The
    hash of a row is hashed once more: without that, values that change places between rows could cancel out.
    """
    with bounded_duckdb(any_order=True) as connection:
        connection.register("held", held)
        connection.register("fresh", fresh)
        sums = [
            connection.sql(_sum_of_hashes(columns, one, other)).fetchall()
            for one, other in (("held", "fresh"), ("fresh", "held"))
        ]
    return sums[0] == sums[1]


def _sum_of_hashes(names: list[str], one: str, other: str) -> str:
    """Return the query for a table's sums; the union with none of the other's rows gives both the same types."""
    columns = quoted(names)
    return f"""
        SELECT count(*), sum(hash(hash({columns}))), sum(hash(hash({columns}), 1))
        FROM (SELECT {columns} FROM {one} UNION ALL SELECT {columns} FROM {other} WHERE false)
    """  # noqa: S608 - names come from the tables' schemas


@contextmanager
def sorted_batches(rows: ds.Dataset, columns: list[str], order: tuple[str, ...]) -> Iterator[pa.RecordBatchReader]:
    """Open a stream over some columns of the rows, in the order of others; without any of those, as they come.

    Rows that already lie in the order of the first of those columns are not sorted again.
    """
    if not order or _lie_in_order(rows, order[0]):
        yield _scanner(rows, columns).to_reader()
        return
    with bounded_duckdb(any_order=True) as connection:
        connection.register("unsorted", rows)
        sql = f"SELECT {quoted(columns)} FROM unsorted ORDER BY {quoted(order)}"  # noqa: S608 - a schema's names
        yield connection.sql(sql).to_arrow_reader(BATCH_ROWS)


def _lie_in_order(rows: ds.Dataset, column: str) -> bool:
    last = None
    for batch in _scanner(rows, [column]).to_batches():
        values = batch.column(0)
        if len(values) == 0:
            continue
        if values.null_count or (last is not None and values[0].as_py() < last):
            return False
        if pc.any(pc.less(values[1:], values[:-1])).as_py():
            return False
        last = values[-1].as_py()
    return True


def _scanner(rows: ds.Dataset, columns: list[str]) -> ds.Scanner:
    # Reading far ahead would hold in memory what the writer has not come to yet.
    return rows.scanner(columns=columns, batch_size=BATCH_ROWS, batch_readahead=4, fragment_readahead=1)
