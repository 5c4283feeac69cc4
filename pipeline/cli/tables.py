"""How rows are shown: as a table for people, or as JSON for scripts."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.app import console

__all__ = ["JsonOption", "cut", "plain_table", "print_wide"]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]

WIDEST = 1000


def plain_table() -> Table:
    """Return a table without lines, its columns apart by two blanks."""
    return Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)


def print_wide(table: Table) -> None:
    """Print a table as wide as its cells: a narrow terminal folds its lines, and a script gets all of them."""
    natural = table.__rich_measure__(console, console.options.update(max_width=WIDEST)).maximum
    Console(width=max(console.width, natural)).print(table)


def cut(text: str, width: int) -> str:
    """Return the text, cut to so many characters if it is longer."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
