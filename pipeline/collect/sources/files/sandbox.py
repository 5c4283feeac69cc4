"""The throw-away DuckDB in which a market's SQL meets its files: it reads those files and nothing else."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from pipeline.collect.sources.files.faults import cause
from pipeline.errors import ConfigError

__all__ = ["checked_expression", "checked_query", "quoted_list", "sandbox"]

_MEMORY = "1GB"
_PARAMETERS = ("since", "until", "as_of")


@contextmanager
def sandbox(paths: Iterable[str], filesystem: Any, timezone: str) -> Iterator[duckdb.DuckDBPyConnection]:  # noqa: ANN401
    """Open a DuckDB that can read these files alone; its settings cannot be changed from within.

    It has no network but the file system given, no extensions to load, no Python variables, no environment, and no
    database to write to. What it cannot refuse is an expression that only takes long.

    Args:
        paths: all that may be read.
        filesystem: the fsspec file system that opens them; None for local ones.
        timezone: where instants with a time zone become days.
    """
    with TemporaryDirectory(prefix="trendmill-") as spill, duckdb.connect() as connection:
        if filesystem is not None:
            connection.register_filesystem(filesystem)
        # What is spilled may hold personal ids, so it is written under a key that only this process has.
        connection.execute(f"""
            SET TimeZone = '{timezone}';
            SET memory_limit = '{_MEMORY}';
            SET temp_directory = '{spill}/spill';
            SET force_mbedtls_unsafe = true;
            SET temp_file_encryption = true;
            SET enable_external_file_cache = false;
            SET validate_external_file_cache = 'NO_VALIDATION';
            SET autoinstall_known_extensions = false;
            SET autoload_known_extensions = false;
            SET python_enable_replacements = false;
            SET preserve_insertion_order = true;
            SET allowed_paths = {quoted_list(paths)};
            SET enable_external_access = false;
            SET lock_configuration = true;
        """)
        yield connection


def quoted_list(texts: Iterable[str]) -> str:
    """Return texts as an SQL list of strings."""
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def checked_expression(text: str, whose: str) -> str:
    """Return an SQL expression in parentheses.

    Raises:
        ConfigError: if the text is not exactly one expression.
    """
    expression = f"({text}\n)"
    try:
        # The bare text shows that it is one; the parentheses, that it needs no more than they hold.
        duckdb.SQLExpression(text)
        duckdb.SQLExpression(expression)
    except duckdb.Error as exc:
        msg = f"{whose} is `{text}`, which is no SQL expression ({cause(exc)}); mend it."
        raise ConfigError(msg) from exc
    return expression


def checked_query(text: str, whose: str, values: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Return a query in parentheses, and those of the values that it asks for as `$since`, `$until` or `$as_of`.

    Raises:
        ConfigError: if the text is not exactly one SELECT, or asks for other parameters.
    """
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as exc:
        msg = f"{whose} is no SQL ({cause(exc)}); mend it."
        raise ConfigError(msg) from exc
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        msg = f"{whose} must be exactly one SELECT over the view `files`; write it as one."
        raise ConfigError(msg)
    asked = statements[0].named_parameters
    if unknown := sorted(asked - set(values)):
        msg = f"{whose} asks for ${unknown[0]}, but only {', '.join(f'${name}' for name in _PARAMETERS)} are given."
        raise ConfigError(msg)
    return f"({text.rstrip().rstrip(';')}\n)", {name: values[name] for name in sorted(asked)}
