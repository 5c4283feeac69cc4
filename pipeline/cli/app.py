"""The Typer application, what its commands share, and the front door that turns mistakes into sentences."""

import errno
import shutil
import sys
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline import __version__
from pipeline.cycle import Home
from pipeline.errors import TrendmillError

__all__ = ["CandidateOption", "DateOption", "FeedOption", "MarketArgument", "app", "console", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Daily demand forecasting: collect, validate, train, choose, publish.",
)
FULL_DISK_BYTES = 16 * 1024**2
"""Free space below which a failure is taken for one of a full disk."""

console = Console()
_errors = Console(stderr=True)

MarketArgument = Annotated[str, typer.Argument(help="A name in markets/, or the path of a market's YAML.")]
DateOption = Annotated[
    datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The as-of day: the last day whose data may be known.")
]
FeedOption = Annotated[list[str] | None, typer.Option("--feed", help="Only this feed (may be given several times).")]
CandidateOption = Annotated[
    list[str] | None, typer.Option("--candidate", help="Only this candidate (may be given several times).")
]


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1."""
    try:
        app()
    except TrendmillError as exc:
        _fail(str(exc))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as exc:
        sentence = _trouble_with_the_disk(exc)
        if sentence is None:
            raise
        _fail(sentence)


def _trouble_with_the_disk(exc: Exception) -> str | None:
    """Return what a person can do about a full or forbidden disk, however the library that met it says so."""
    home = Home.from_environment().path
    if isinstance(exc, PermissionError) or getattr(exc, "errno", None) == errno.EROFS:
        return f"{getattr(exc, 'filename', None) or home} may not be written to; change its owner or TRENDMILL_HOME."
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if getattr(exc, "errno", None) == errno.ENOSPC or shutil.disk_usage(nearest).free < FULL_DISK_BYTES:
        return f"The disk of {home} is full; free some space and run it again, nothing half-written is kept."
    return None


def _fail(sentence: str) -> None:
    _errors.print(f"[bold red]Error:[/] {escape(sentence)}", soft_wrap=True)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        console.print(f"trendmill {__version__}")
        raise typer.Exit
