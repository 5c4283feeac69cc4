"""From a JSON answer to the rows of a feed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import jmespath
import pyarrow as pa

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.feeds import Feed, Grain
from pipeline.sources import HttpSource

__all__ = ["Reader", "kept", "parsed"]

_MILLISECONDS_FROM = 10**11
"""A moment that counts higher than this counts milliseconds since 1970, not seconds: these last until 5138."""


_LARGEST_WHOLE = 2**63
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def parsed(body: bytes, about: str) -> Any:  # noqa: ANN401 - JSON may be anything
    """Return what a body says.

    Raises:
        SourceError: if it is a page for people.
        SourceUnavailableError: if it is no JSON, such as when it was cut off.
    """
    if body.lstrip()[:1] == b"<":
        msg = f"{about} answers with HTML or XML instead of JSON; check its address in the market's file."
        raise SourceError(msg)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        msg = f"{about} answers with broken JSON ({len(body):,} bytes); try again, or check its address."
        raise SourceUnavailableError(msg) from exc


@dataclass(frozen=True)
class Reader:
    """Reads the records of answers as rows of a feed."""

    settings: HttpSource
    feed: Feed
    grain: Grain
    zone: ZoneInfo
    about: str
    """What a message calls the service."""

    def records(self, answer: Any) -> list[Any]:  # noqa: ANN401 - JSON may be anything
        """Return the records of an answer.

        Raises:
            SourceError: if they are neither a list nor an object of equally long lists.
        """
        found = _search(self.settings.records, answer)
        if isinstance(found, list):
            return found
        if isinstance(found, dict) and found and all(isinstance(values, list) for values in found.values()):
            lengths = {name: len(values) for name, values in found.items()}
            if len(set(lengths.values())) == 1:
                return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            msg = f"{self.about} answers with lists of different lengths ({told}); check 'records'."
            raise SourceError(msg)
        keys = f"an object with {', '.join(map(str, answer)) or 'nothing'}" if isinstance(answer, dict) else "no object"
        msg = (
            f"{self.about} has no list of records at '{self.settings.records}'; its answer is {keys}. Check 'records', "
            f"or what it says."
        )
        raise SourceError(msg)

    def batch(self, records: list[Any], constants: Mapping[str, str]) -> pa.RecordBatch:
        """Return records as rows; values that cannot be read are missing.

        Raises:
            SourceError: if a required column is in none of the records.
        """
        schema = self.feed.landed_schema(self.grain)
        if self.settings.variables:
            columns = self._by_variable(records, schema, constants)
        else:
            columns = {column.name: self._values(column, records, constants) for column in schema}
        arrays = [
            pa.array([_read(value, column.type, self.zone) for value in columns[column.name]], column.type)
            for column in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, names=schema.names)

    def _by_variable(self, records: list[Any], schema: pa.Schema, constants: Mapping[str, str]) -> dict[str, list[Any]]:
        """Return the columns of the long shape: a row for each record and variable that has a value in it."""
        others = {
            column.name: self._values(column, records, constants)
            for column in schema
            if column.name not in ("variable", "value")
        }
        rows: dict[str, list[Any]] = {column.name: [] for column in schema}
        for variable, path in self.settings.variables.items():
            values = [_search(path, record) for record in records]
            there = [position for position, value in enumerate(values) if value is not None]
            if records and not there and not any(_has(record, path) for record in records):
                absent = self._missing("variables", path, records)
                raise absent
            rows["variable"] += [variable] * len(there)
            rows["value"] += [values[position] for position in there]
            for name, column in others.items():
                rows[name] += [column[position] for position in there]
        return rows

    def _values(self, column: pa.Field, records: list[Any], constants: Mapping[str, str]) -> list[Any]:
        if column.name in constants:
            return [constants[column.name]] * len(records)
        path = self.settings.columns.get(column.name, f'"{column.name}"')
        values = [_search(path, record) for record in records]
        if all(value is None for value in values) and records:
            if column.name in self.feed.defaults and column.name not in self.settings.columns:
                return [self.feed.defaults[column.name]] * len(records)
            if not column.nullable:
                absent = self._missing("columns", path, records)
                raise absent
        return values

    def _missing(self, setting: str, path: str, records: list[Any]) -> SourceError:
        first = records[0]
        keys = ", ".join(map(str, first)) if isinstance(first, dict) else f"a {type(first).__name__}, not an object"
        return SourceError(
            f"{self.about} has nothing at '{path}' in any of its {len(records):,} records, which have {keys}; give "
            f"another path under feeds.{self.feed.name}.{setting}."
        )


def kept(batch: pa.RecordBatch, day: str | None, since: date, until: date) -> pa.RecordBatch:
    """Return the rows about the days of a window, and those without a day."""
    if day is None:
        return batch
    days = batch.column(day).to_pylist()
    return batch.filter(pa.array([value is None or since <= value <= until for value in days], pa.bool_()))


def _search(path: str, value: Any) -> Any:  # noqa: ANN401 - JSON may be anything
    try:
        return jmespath.search(path, value)
    except jmespath.exceptions.JMESPathError:
        # A function that was given what it does not take, such as the length of a number.
        return None


def _has(record: Any, path: str) -> bool:  # noqa: ANN401 - JSON may be anything
    """Return whether a record has the key that a path begins with."""
    return isinstance(record, dict) and re.split(r"[.\[]", path)[0].strip('"') in record


def _read(value: Any, kind: pa.DataType, zone: ZoneInfo) -> Any:  # noqa: ANN401 - JSON may be anything
    """Return a JSON value as a column's type wants it, None where it cannot be read so."""
    if value is None or isinstance(value, dict | list):
        return None
    if pa.types.is_string(kind):
        return str(value).lower() if isinstance(value, bool) else _text(str(value))
    if pa.types.is_boolean(kind):
        return _TRUTHS.get(str(value).lower())
    try:
        return None if isinstance(value, bool) else _measured(value, kind, zone)
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: str) -> str | None:
    """Return a text, unless it holds half a character, which JSON can write and nothing else can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _measured(value: str | float, kind: pa.DataType, zone: ZoneInfo) -> float | date | None:
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < _LARGEST_WHOLE else None
    moment = _moment(value, zone)
    return moment.date() if pa.types.is_date(kind) else moment


def _moment(value: str | float, zone: ZoneInfo) -> datetime:
    """Return the time on the market's clock of an ISO 8601 text, or of seconds or milliseconds since 1970."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
    else:
        seconds = value / 1000 if abs(value) > _MILLISECONDS_FROM else value
        moment = datetime.fromtimestamp(seconds, UTC)
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment
