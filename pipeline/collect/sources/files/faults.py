"""Faults of files in a person's words: the cause alone, without any value that stood in a row."""

import re

import duckdb

from pipeline.errors import SourceError, SourceUnavailableError

__all__ = ["cause", "is_about_line_ends", "masked", "unanswered"]

_ABOUT_SQL = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)
_CSV_CAUSES = re.compile(
    r"Expected Number of Columns: \d+ Found: \d+|Invalid unicode \(byte sequence mismatch\) detected|"
    r"Value with unterminated quote found|Maximum line size of \d+ bytes exceeded|State Machine Error"
)
_LINE_ENDS = "state machine reached an invalid state"
"""What DuckDB says where a line does not end as the first one does."""
_QUOTED = re.compile(r"(\"(?:[^\"])*\"|'(?:[^'])*')")


def masked(text: str) -> str:
    """Return a text without the credentials and the query strings of the URLs in it."""
    return re.sub(r"(\w+://[^\s?'\"]*)\?[^\s'\"]*", r"\1?...", re.sub(r"://[^/@\s'\"]+@", "://***@", text))


def cause(exc: BaseException) -> str:
    """Return why something could not be read: one line, that never quotes a row."""
    text = str(exc)
    if is_about_line_ends(exc):
        return "its lines do not all end alike, or a carriage return stands in one outside of quotes"
    if type(exc) is duckdb.Error and "Traceback" in text:
        return masked(text.strip().splitlines()[-1])
    first = (text.strip() or type(exc).__name__).splitlines()[0]
    first = re.sub(r"^[A-Z]\w*( \w+)? Error: ", "", first)
    if "CSV Error" in first:
        why = _CSV_CAUSES.search(text)
        return f"{first.removeprefix('CSV Error on ').lower()}: {why.group(0) if why else 'it breaks the rules of CSV'}"
    if isinstance(exc, duckdb.Error) and not isinstance(exc, (*_ABOUT_SQL, duckdb.IOException)):
        first = _QUOTED.sub(_without_value, first)
    return masked(first).rstrip(".!")


def is_about_line_ends(exc: BaseException) -> bool:
    """Return whether a CSV file mixes line endings."""
    return isinstance(exc, duckdb.Error) and _LINE_ENDS in str(exc)


def unanswered(exc: BaseException, what: str) -> SourceError:
    """Return the error for a store that does not hand out what it was asked for.

    Args:
        exc: what the store's client raised, or DuckDB on its behalf.
        what: what was asked for, as the beginning of a sentence.
    """
    text = f"{type(exc).__name__}: {cause(exc)}"
    if "FileNotFoundError" in text:
        return SourceUnavailableError(f"{what} has vanished while it was read ({cause(exc)}); try again.")
    if re.search(
        r"\b40[13]\b|PermissionError|NoCredentials|CredentialsError|InvalidAccessKeyId|SignatureDoesNotMatch", text
    ):
        return SourceError(
            f"{what} must not be read with the credentials of this environment ({cause(exc)}); set those that may."
        )
    return SourceUnavailableError(f"{what} cannot be reached ({cause(exc)}); check that it answers, and try again.")


def _without_value(found: re.Match[str]) -> str:
    """Return a quotation of a message if it is a file's name, and dots where it may be somebody's data."""
    return found.group(0) if re.search(r"[/.](parquet|csv|tsv|gz|zst)['\"]$", found.group(0)) else "'...'"
