"""Delta tables of one market: read at a version or as of a day, written by fenced, idempotent attempts."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from pipeline.errors import FencedError, StageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Attempt", "Commit", "Lake"]

_COMMIT_TRIES = 12
_LONGEST_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Commit:
    """What a commit did to its table."""

    table: str
    version: int
    rows: int
    changed: bool
    """False where the table held exactly these rows already, so that no version was added."""


@dataclass(frozen=True)
class Lake:
    """All tables of one market under one root (a folder or an object store's URL)."""

    root: str

    def exists(self, table: str) -> bool:
        """Return whether the table has been written."""
        return DeltaTable.is_deltatable(self.uri(table))

    def version(self, table: str) -> int | None:
        """Return the table's newest version, or None where it was never written."""
        opened = self.open(table)
        return None if opened is None else opened.version()

    def read(self, table: str, *, version: int | None = None, **equal: date | str) -> pa.Table:
        """Return the rows of a table whose columns equal the given values.

        Raises:
            StageError: if the table was never written.
        """
        filters = [(column, "=", value) for column, value in equal.items()]
        return self._opened(table, version).to_pyarrow_table(filters=filters or None)

    def query(self, sql: str, tables: "Iterable[str]", **parameters: Any) -> pa.Table:  # noqa: ANN401
        """Return what a DuckDB query says over some of the tables, which stand in it under their own names."""
        with duckdb.connect() as connection:
            for table in tables:
                connection.register(_view_name(table), self._opened(table).to_pyarrow_dataset())
            return connection.sql(sql, params=parameters).to_arrow_table()

    def as_of(self, feed: str, key: tuple[str, ...], day: date, *, without_cycle: date | None = None) -> pa.Table:
        """Return a feed's facts as they were known on a day: of each key the latest revision, deletions left out.

        Args:
            feed: the feed's name.
            key: the feed's key columns.
            day: nothing learnt after this day is seen.
            without_cycle: a cycle whose own rows are left out, so that it can be collected again.

        Raises:
            StageError: if nothing of the feed has ever been collected.
        """
        order = f"PARTITION BY {', '.join(key)} ORDER BY known_on DESC, cycle DESC"
        sql = f"""
            SELECT * EXCLUDE (deleted) FROM "facts_{feed}"
            WHERE known_on <= $day AND cycle IS DISTINCT FROM $without_cycle
            QUALIFY row_number() OVER ({order}) = 1 AND NOT deleted
        """  # noqa: S608 - names come from the feeds' contracts
        return self.query(sql, [f"facts/{feed}"], day=day, without_cycle=without_cycle)

    def attempt(self, table: str, **owner: date | str) -> "Attempt":
        """Begin an attempt at writing the rows that belong to an owner, such as a cycle or a cycle's candidate.

        Begin it before the work: an attempt is refused if another one has committed for the same owner meanwhile.
        """
        return Attempt(self, table, owner, self.commits_of(table, owner))

    def commits_of(self, table: str, owner: Mapping[str, date | str]) -> int:
        """Return how often an owner's rows of a table have been committed: what fences attempts."""
        opened = self.open(table)
        return 0 if opened is None else (opened.transaction_version(_app_id(table, owner)) or 0)

    def _opened(self, table: str, version: int | None = None) -> DeltaTable:
        opened = self.open(table, version)
        if opened is None:
            msg = f"The table '{table}' in {self.root} does not exist yet; run the stage that writes it first."
            raise StageError(msg)
        return opened

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """Return a table at a version (the newest without one), or None where it was never written."""
        try:
            return DeltaTable(self.uri(table), version=version)
        except TableNotFoundError:
            return None

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

    def commit(self, rows: pa.Table, **provenance: str) -> Commit:
        """Replace the owner's rows with these, all or nothing, and add no version where nothing changed.

        Args:
            rows: the owner's rows, with or without the owner's columns.
            provenance: what is recorded with the commit beside Delta's own entries.

        Raises:
            FencedError: if another attempt has committed for this owner since this one began.
        """
        rows = self._with_owner(rows)
        for wait_seconds in _backoff_seconds():
            try:
                current = self._opened_or_created(rows.schema)
                self._refuse_if_fenced()
                if self._holds_exactly(current, rows):
                    return Commit(self.table, current.version(), rows.num_rows, changed=False)
                self._write(current, rows, provenance)
            except CommitFailedError:
                time.sleep(wait_seconds)
            else:
                return Commit(self.table, current.version(), rows.num_rows, changed=True)
        msg = f"The table '{self.table}' is being written by too many others at once; run this stage again."
        raise FencedError(msg)

    def _refuse_if_fenced(self) -> None:
        if self.lake.commits_of(self.table, self.owner) != self.fence:
            owner = ", ".join(f"{column} {value}" for column, value in self.owner.items())
            msg = f"Another attempt has committed {owner} to '{self.table}' since this one began; this one is stale."
            raise FencedError(msg)

    def _with_owner(self, rows: pa.Table) -> pa.Table:
        for position, (column, value) in enumerate(self.owner.items()):
            kind = pa.date32() if isinstance(value, date) else pa.string()
            values = pa.repeat(pa.scalar(value, kind), rows.num_rows)
            if column in rows.column_names:
                rows = rows.drop_columns([column])
            rows = rows.add_column(position, pa.field(column, kind, nullable=False), values)
        return rows

    def _holds_exactly(self, current: DeltaTable, rows: pa.Table) -> bool:
        filters = [(column, "=", value) for column, value in self.owner.items()]
        held = current.to_pyarrow_table(filters=filters)
        if held.num_rows != rows.num_rows or set(held.column_names) != set(rows.column_names):
            return False
        with duckdb.connect() as connection:
            connection.register("held", held.select(rows.column_names))
            connection.register("fresh", rows)
            differ = connection.execute("SELECT 1 FROM (FROM fresh EXCEPT ALL FROM held) LIMIT 1").fetchone()
        return differ is None

    def _opened_or_created(self, schema: pa.Schema) -> DeltaTable:
        return self.lake.open(self.table) or DeltaTable.create(
            self.lake.uri(self.table), schema, mode="ignore", partition_by=["cycle"]
        )

    def _write(self, current: DeltaTable, rows: pa.Table, provenance: Mapping[str, str]) -> None:
        predicate = " AND ".join(f"{column} = '{value}'" for column, value in self.owner.items())
        write_deltalake(
            current,
            rows,
            mode="overwrite",
            predicate=predicate,
            commit_properties=CommitProperties(
                custom_metadata=dict(provenance),
                app_transactions=[Transaction(_app_id(self.table, self.owner), self.fence + 1)],
            ),
        )


def _app_id(table: str, owner: Mapping[str, date | str]) -> str:
    return "/".join([table, *(f"{column}={value}" for column, value in owner.items())])


def _view_name(table: str) -> str:
    return table.replace("/", "_")


def _backoff_seconds() -> "Iterable[float]":
    jitter = random.Random()  # noqa: S311 - spreads writers in time, decides nothing
    for attempt in range(_COMMIT_TRIES):
        yield jitter.uniform(0.5, 1) * min(_LONGEST_WAIT_SECONDS, 0.05 * 2**attempt)
