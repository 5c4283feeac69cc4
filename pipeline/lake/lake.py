"""Delta tables of one market: read at a version or as of a day, written by fenced, idempotent attempts."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from pipeline.bounded import bounded_duckdb, quoted
from pipeline.errors import FencedError, StageError
from pipeline.feeds import ANY, FEEDS
from pipeline.lake.queries import same_rows, sorted_batches
from pipeline.lake.storage import masked, storage_options, table_names, unless_full, unless_silent

__all__ = ["Attempt", "Between", "Commit", "Lake"]

ROWS_A_GROUP = 100_000
"""Rows that lie together in a file and are read or skipped together: what a window of days costs at least."""

PARQUET = WriterProperties(compression="ZSTD", max_row_group_size=ROWS_A_GROUP)
"""How every file is written."""

_TABLE_SETTINGS = {"delta.checkpointInterval": "20"}
"""Whoever opens a table reads all commits since the last checkpoint, one file each."""
_COMMIT_TRIES = 12
_LONGEST_WAIT_SECONDS = 1.0
_UNCHANGED = "trendmill.unchanged"
"""Marks the commits that only raise an owner's count."""
_KEEPS_FILES = frozenset({"VACUUM START", "VACUUM END", "SET TBLPROPERTIES"})
"""Delta's names for commits that leave a table's files as they are."""


@dataclass(frozen=True)
class Commit:
    """What a commit did to its table."""

    table: str
    version: int
    """The table's version with these rows."""
    rows: int
    changed: bool
    """False where the table held exactly these rows already."""


@dataclass(frozen=True)
class Between:
    """A closed window of days of a key column: facts outside it are not read."""

    column: str
    since: date
    until: date


@dataclass(frozen=True, repr=False)
class Lake:
    """All tables of one market under one root (a folder or an object store's URL).

    Whatever reads or writes raises `LakeUnavailableError` if an object store does not answer.
    """

    root: str

    @property
    def place(self) -> str:
        """The root as it may be shown and recorded: without credentials."""
        return masked(self.root)

    def __repr__(self) -> str:
        """Return the lake by its place."""
        return f"Lake({self.place!r})"

    def exists(self, table: str) -> bool:
        """Return whether the table has been written."""
        with unless_silent(self.root):
            return DeltaTable.is_deltatable(self.uri(table), storage_options(self.root))

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables under the root, sorted."""
        with unless_silent(self.root):
            return table_names(self.root)

    def version(self, table: str) -> int | None:
        """Return the newest version that wrote anything, or None where the table was never written.

        Commits that only raise an owner's count, and Delta's own notes, are passed over: after them the table is the
        same.
        """
        opened = self.open(table)
        with unless_silent(self.root):
            return None if opened is None else _newest_writing_version(opened)

    def read(self, table: str, *, version: int | None = None, **equal: date | str) -> pa.Table:
        """Return the rows of a table whose columns equal the given values.

        Raises:
            StageError: if the table was never written.
        """
        filters = [(column, "=", value) for column, value in equal.items()]
        with unless_silent(self.root):
            return self._opened(table, version).to_pyarrow_table(filters=filters or None)

    def query(
        self,
        sql: str,
        tables: Iterable[str],
        *,
        versions: Mapping[str, int] | None = None,
        **parameters: Any,  # noqa: ANN401
    ) -> pa.Table:
        """Return what a DuckDB query says over some of the tables, which stand in it under their own names.

        Args:
            sql: the query; `facts/sales` stands in it as `facts_sales`.
            tables: the tables that it reads.
            versions: at which version a table is read; one that is not named here is read at its newest.
            parameters: values of the query's `$names`.
        """
        at, names = versions or {}, list(tables)
        with self._database(", ".join(names)) as connection:
            for table in names:
                connection.register(_view_name(table), self._opened(table, at.get(table)).to_pyarrow_dataset())
            return connection.sql(sql, params=parameters).to_arrow_table()

    def as_of(
        self,
        feed: str,
        key: tuple[str, ...],
        day: date,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        without_cycle: date | None = None,
        between: Between | None = None,
        among: pa.Table | None = None,
    ) -> pa.Table:
        """Return a feed's facts as they were known on a day; see `known`, which takes the same arguments.

        Args:
            feed: the feed's name.
            key: the feed's key columns.
            day: nothing learnt after this day is seen.
            columns: the columns to return; without them all but the mark of deletions. Others are not read.
            version: the version of the table that is read; without one, the newest.
            without_cycle: a cycle whose own rows are left out, so that it can be collected again.
            between: only facts in this window.
            among: only facts about these keys.
        """
        names = quoted(columns) if columns else "*"
        with self.known(
            feed, key, day, version=version, without_cycle=without_cycle, between=between, among=among
        ) as connection:
            return connection.sql(f"SELECT {names} FROM facts").to_arrow_table()  # noqa: S608 - names of contracts

    @contextmanager
    def known(
        self,
        feed: str,
        key: tuple[str, ...],
        day: date,
        *,
        version: int | None = None,
        without_cycle: date | None = None,
        between: Between | None = None,
        among: pa.Table | None = None,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a database of bounded memory in which `facts` are a feed's facts as they were known on a day.

        They are the latest revision of each key, deletions left out, and are read when a query asks for them: only
        the columns that it names. Let them stand on the left of a join: what stands on the right is held in memory.

        What they are taken from, all that has ever been learnt, stands beside them as `revisions`.

        Args:
            feed: the feed's name.
            key: the feed's key columns.
            day: nothing learnt after this day is seen.
            version: the version of the table that is read; without one, the newest.
            without_cycle: a cycle whose own rows are left out, so that it can be collected again.
            between: only facts in this window; files and row groups that lie outside it are not opened.
            among: only facts whose columns of these names are, row for row, as in this table; a text of a fact may
                also be `feeds.ANY`.

        Raises:
            StageError: if nothing of the feed has ever been collected, or there is no room for what is put aside.
            ValueError: if facts are chosen by a column that is not part of the key: the revisions of one could lie on
                both sides.
        """
        chosen_by = among.column_names if among is not None else []
        for column in [*chosen_by, *([between.column] if between else [])]:
            if column not in key:
                msg = f"'{column}' is not part of the key {key}"
                raise ValueError(msg)
        needed: list[tuple[str, str, date]] = [("known_on", "<=", day)]
        if between:
            needed += [(between.column, ">=", between.since), (between.column, "<=", between.until)]
        table = f"facts/{feed}"
        with self._database(table) as connection:
            revisions = self._opened(table, version).to_pyarrow_dataset(file_pruning_predicate=needed)
            # A dataset does not say how large it is; left to guess, DuckDB would hold it in memory to join it to a few.
            connection.execute("SET disabled_optimizers = 'build_side_probe_side'")
            connection.register("revisions", revisions)
            if among is not None:
                connection.register("among", among)
            connection.execute(_known_facts(key, needed, without_cycle, among))
            yield connection

    @contextmanager
    def _database(self, tables: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a database for queries over some tables, whose faults of store and disk are told in a sentence."""
        with (
            unless_full(tables, self.root),
            unless_silent(self.root),
            bounded_duckdb(any_order=True) as connection,
        ):
            yield connection

    def attempt(self, table: str, **owner: date | str) -> "Attempt":
        """Begin an attempt at writing the rows that belong to an owner, such as a cycle or a cycle's candidate.

        Begin it before the work: an attempt is refused if another one has committed for the same owner meanwhile.
        """
        return Attempt(self, table, owner, self.commits_of(table, owner))

    def commits_of(self, table: str, owner: Mapping[str, date | str]) -> int:
        """Return how often an owner's rows of a table have been committed: what fences attempts."""
        opened = self.open(table)
        return 0 if opened is None else _count(opened, _app_id(table, owner))

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """Return a table at a version (the newest without one), or None where it was never written."""
        with unless_silent(self.root):
            try:
                return DeltaTable(self.uri(table), version=version, storage_options=storage_options(self.root))
            except TableNotFoundError:
                return None

    def _opened(self, table: str, version: int | None = None) -> DeltaTable:
        opened = self.open(table, version)
        if opened is None:
            msg = f"The table '{table}' in {self.place} does not exist yet; run the stage that writes it first."
            raise StageError(msg)
        return opened

    def uri(self, table: str) -> str:
        """Return where a table lies."""
        return f"{self.root}/{table}"


@dataclass(frozen=True)
class Attempt:
    """One try at replacing an owner's rows of a table, fenced against every other try at the same."""

    lake: Lake
    table: str
    owner: Mapping[str, date | str]
    fence: int
    """How many commits the owner's rows had seen when this attempt began."""

    def commit(self, rows: pa.Table | ds.Dataset, **provenance: str) -> Commit:
        """Replace the owner's rows with these, all or nothing.

        Rows that the table holds already are not written again; the commit then only raises the owner's count, so
        that older attempts are refused.

        Args:
            rows: the owner's rows, with or without the owner's columns. A dataset (Parquet files on disk) is streamed
                in bounded memory, and read again on each retry. Facts are sorted by the day they are about; a dataset
                that already is need not be sorted again, which saves most of the time.
            provenance: what is recorded with the commit beside Delta's own entries.

        Raises:
            FencedError: if another attempt has committed for this owner since this one began.
            StageError: if the disk is full; the table is as it was before.
        """
        order = _order(self.table, rows.schema)
        if isinstance(rows, pa.Table):
            rows, order = ds.dataset(rows.sort_by([(column, "ascending") for column in order]) if order else rows), ()
        for wait_seconds in backoff_seconds():
            try:
                with unless_full(self.table, self.lake.root), unless_silent(self.lake.root):
                    return self._commit_once(rows, order, provenance)
            except CommitFailedError:
                time.sleep(wait_seconds)
        msg = f"The table '{self.table}' is being written by too many others at once; run this stage again."
        raise FencedError(msg)

    def refuse_if_overtaken(self) -> None:
        """Refuse to go on after this attempt's commit, if another attempt has committed for its owner since.

        Raises:
            FencedError: if so; what this attempt would write further belongs to rows that have been replaced.
        """
        if self.lake.commits_of(self.table, self.owner) != self.fence + 1:
            raise self._overtaken()

    def _commit_once(self, rows: ds.Dataset, order: tuple[str, ...], provenance: Mapping[str, str]) -> Commit:
        """Commit on top of the newest version, in this order of columns, or not at all.

        Raises:
            CommitFailedError: if others have committed in between what this commit would have had to see.
        """
        schema = self._schema(rows.schema)
        given = [name for name in schema.names if name not in self.owner]
        current = self._opened_or_created(schema)
        # Checked and written on one snapshot: Delta refuses a second commit with the same owner's count.
        self._refuse_if_fenced(current)
        held = _rows_of(current, self.owner)
        count, held_count = rows.count_rows(), held.count_rows()
        same_columns = set(held.schema.names) == set(schema.names)
        if same_columns and held_count == count and (count == 0 or same_rows(held, rows, given)):
            unchanged = _newest_writing_version(current)
            self._append(current, schema.empty_table().to_reader(), {_UNCHANGED: "true"})
            return Commit(self.table, unchanged, count, changed=False)
        with sorted_batches(rows, given, order) as batches:
            stream = pa.RecordBatchReader.from_batches(schema, self._with_owner(batches, schema))
            if held_count == 0:
                self._append(current, stream, provenance)
            else:
                self._overwrite(current, stream, provenance)
        return Commit(self.table, current.version(), count, changed=True)

    def _opened_or_created(self, schema: pa.Schema) -> DeltaTable:
        # Without partitions: a night is a few small files, and only within a partition could they be joined later.
        root = self.lake.root
        uri, options = self.lake.uri(self.table), storage_options(root)
        return self.lake.open(self.table) or DeltaTable.create(
            uri, schema, mode="ignore", configuration=_TABLE_SETTINGS, storage_options=options
        )

    def _refuse_if_fenced(self, current: DeltaTable) -> None:
        if _count(current, self._app_id) != self.fence:
            raise self._overtaken()

    def _overtaken(self) -> FencedError:
        owner = ", ".join(f"{column} {value}" for column, value in self.owner.items())
        return FencedError(
            f"Another attempt has committed {owner} to '{self.table}' since this one began; this one is stale."
        )

    def _append(self, current: DeltaTable, rows: pa.RecordBatchReader, metadata: Mapping[str, str]) -> None:
        properties = self._commit_properties(metadata)
        write_deltalake(
            current,
            rows,
            mode="append",
            schema_mode=_schema_mode(current, rows.schema),
            writer_properties=PARQUET,
            commit_properties=properties,
        )

    def _overwrite(self, current: DeltaTable, rows: pa.RecordBatchReader, metadata: Mapping[str, str]) -> None:
        write_deltalake(
            current,
            rows,
            mode="overwrite",
            schema_mode=_schema_mode(current, rows.schema),
            predicate=" AND ".join(f"{column} = '{value}'" for column, value in self.owner.items()),
            writer_properties=PARQUET,
            commit_properties=self._commit_properties(metadata),
        )

    def _commit_properties(self, metadata: Mapping[str, str]) -> CommitProperties:
        return CommitProperties(dict(metadata), app_transactions=[Transaction(self._app_id, self.fence + 1)])

    @property
    def _app_id(self) -> str:
        return _app_id(self.table, self.owner)

    def _schema(self, given: pa.Schema) -> pa.Schema:
        """Return the schema of the rows as they are written: the owner's columns first."""
        own = [
            pa.field(column, pa.date32() if isinstance(value, date) else pa.string(), nullable=False)
            for column, value in self.owner.items()
        ]
        return pa.schema([*own, *(column for column in given if column.name not in self.owner)])

    def _with_owner(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            own = [
                pa.repeat(pa.scalar(value, schema.field(name).type), len(batch)) for name, value in self.owner.items()
            ]
            rest = [batch[name].cast(schema.field(name).type) for name in schema.names if name not in self.owner]
            yield pa.record_batch([*own, *rest], schema=schema)


def _rows_of(table: DeltaTable, owner: Mapping[str, date | str]) -> ds.Dataset:
    """Return the rows of an owner as a table holds them, without reading them."""
    conditions = [pc.field(column) == pa.scalar(value) for column, value in owner.items()]
    pruned = table.to_pyarrow_dataset(file_pruning_predicate=[(name, "=", value) for name, value in owner.items()])
    return pruned.filter(reduce(and_, conditions))


def _schema_mode(table: DeltaTable, schema: pa.Schema) -> Literal["merge"] | None:
    """Return how other columns than the table's are taken: a newer Trendmill may have more to say in each row."""
    held = {column.name for column in table.schema().fields}
    return None if set(schema.names) == held else "merge"


def _known_facts(
    key: Sequence[str], needed: Iterable[tuple[str, str, date]], without_cycle: date | None, among: pa.Table | None
) -> str:
    """Return the definition of the view `facts` over `revisions`, and over the keys in `among` if there are any."""
    chosen = (
        "" if among is None else f"SEMI JOIN {_or_any(among.schema)} AS chosen USING ({quoted(among.schema.names)})"
    )
    where = " AND ".join(f"\"{column}\" {sign} DATE '{day}'" for column, sign, day in needed)
    others = f"AND cycle IS DISTINCT FROM DATE '{without_cycle}'" if without_cycle else ""
    order = f"PARTITION BY {quoted(key)} ORDER BY known_on DESC, cycle DESC"
    return f"""
        CREATE TEMP VIEW facts AS SELECT * EXCLUDE (deleted) FROM revisions {chosen} WHERE {where} {others}
        QUALIFY row_number() OVER ({order}) = 1 AND NOT deleted
    """  # noqa: S608 - names come from the feeds' contracts


def _or_any(keys: pa.Schema) -> str:
    """Return the query for the table `among` with `ANY` in place of each of its texts besides, in every combination."""
    query = "among"
    for column in keys:
        if pa.types.is_string(column.type):
            texts = f"""unnest(["{column.name}", '{ANY}']) AS "{column.name}\""""
            query = f"""(SELECT {texts}, * EXCLUDE ("{column.name}") FROM {query})"""  # noqa: S608 - the same
    return query


def _order(table: str, schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that a table's files are sorted by: of facts the day they are about, then their key."""
    feed = next((feed for feed in FEEDS.values() if table == f"facts/{feed.name}"), None)
    if feed is None:
        return ()
    wanted = dict.fromkeys([*([feed.day] if feed.day else []), *feed.key])
    return tuple(column for column in wanted if column in schema.names)


def _newest_writing_version(table: DeltaTable) -> int:
    """Return the version that the table's files date from, as far back as its log goes."""
    oldest = table.version()
    for limit in (5, None):
        for entry in table.history(limit):
            oldest = entry["version"]
            if entry.get("operation") not in _KEEPS_FILES and _UNCHANGED not in entry:
                return oldest
    return oldest


def _count(table: DeltaTable, app_id: str) -> int:
    return table.transaction_version(app_id) or 0


def _app_id(table: str, owner: Mapping[str, date | str]) -> str:
    return "/".join([table, *(f"{column}={value}" for column, value in owner.items())])


def _view_name(table: str) -> str:
    return table.replace("/", "_")


def backoff_seconds() -> Iterator[float]:
    """Yield how long to wait after each try at a commit; there are no more tries than these."""
    jitter = random.Random()  # noqa: S311 - spreads writers in time, decides nothing
    for attempt in range(_COMMIT_TRIES):
        yield jitter.uniform(0.5, 1) * min(_LONGEST_WAIT_SECONDS, 0.05 * 2**attempt)
