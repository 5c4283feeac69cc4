"""The protocol that every database engine keeps, and what is read from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import ibis.expr.datatypes as dt
import pyarrow as pa
import sqlglot.expressions as sge

__all__ = ["Engine", "MissingTableError", "Relation"]


@dataclass(frozen=True)
class Relation:
    """What is read: a table or view, `schema.table` where it is not in the default schema, or a query."""

    table: str | None = None
    query: str | None = None
    where: str | None = None

    @property
    def name(self) -> str:
        """What a message calls it."""
        return f"table '{self.table}'" if self.table else "query"

    @property
    def schema(self) -> str | None:
        """The table's schema, if it is named: all before the last point."""
        return self.table.rpartition(".")[0] or None if self.table else None

    @property
    def table_name(self) -> str:
        """The table's name without its schema."""
        return self.table.rpartition(".")[2] if self.table else ""

    def text(self, dialect: str) -> str:
        """Return the relation as it stands behind FROM in a dialect of SQLGlot."""
        text = f"(\n{self.query.strip().rstrip(';')}\n)" if self.query else self._quoted(dialect)
        if self.where is None:
            return text
        return f"(SELECT * FROM {text} unfiltered WHERE\n{self.where}\n)"  # noqa: S608 - the market's own condition

    def _quoted(self, dialect: str) -> str:
        parts = self.table.split(".") if self.table else []
        return ".".join(sge.to_identifier(part, quoted=True).sql(dialect) for part in parts)


class MissingTableError(LookupError):
    """The database has no such table; the argument is the names of those that it has."""


class Engine(Protocol):
    """A connection to one kind of database."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""
        ...

    @property
    def compiler(self) -> str:
        """The module of `ibis.backends.sql.compilers` that writes its dialect."""
        ...

    @property
    def slice_days(self) -> int | None:
        """How many days may be asked for at once, where an answer is held in memory as a whole; None for any."""
        ...

    def open(self) -> None:
        """Connect."""
        ...

    def columns(self, relation: Relation) -> Mapping[str, dt.DataType]:
        """Return the columns of a relation with their types, `unknown` where the database does not say.

        Raises:
            MissingTableError: if there is no such table.
        """
        ...

    def rows(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Yield a statement's result in batches, in whatever types the driver gives."""
        ...

    def may_pass(self, error: Exception) -> bool:
        """Return whether the same statement may succeed if it is tried again later."""
        ...

    def cause(self, error: Exception) -> str:
        """Return what the database says of an error, in one line."""
        ...

    def close(self) -> None:
        """Give the connection back, if there is one."""
        ...
