"""`profile`: what a source is like before its feed is let in, and the suite that it suggests."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.cli.app import DateOption, MarketArgument, app, console
from pipeline.cli.tables import JsonOption, cut, plain_table, print_wide
from pipeline.cycle import Cycle, open_cycle

if TYPE_CHECKING:
    from pipeline.feeds import FeedName
    from pipeline.validate.profiling import ColumnProfile, FeedProfile

__all__ = ["profile"]

EXAMPLES_WIDTH = 40


@app.command()
def profile(
    market: MarketArgument,
    feed: Annotated[str, typer.Option(help="The feed whose source is looked at.")],
    day: DateOption,
    *,
    write: Annotated[bool, typer.Option("--write", help="Write the draft of a suite to expectations/drafts/.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a feed's source is like, and propose a suite for it; nothing is landed."""
    from pipeline.validate.profiling import draft_suite, findings_of, profile_feed, write_draft

    night = open_cycle(market, day.date())
    with _bars() as shown:
        bar = shown.add_task("reading the source", total=None)
        found = profile_feed(
            night,
            _feed(night, feed),
            lambda what, done, total: shown.update(
                bar, description=what if total else f"{what}: {done:,} rows", completed=done, total=total
            ),
        )
    draft = draft_suite(found)
    if as_json:
        told = found.as_dict() | {"findings": list(findings_of(found)), "draft": draft}
        typer.echo(json.dumps(told, indent=1))
    else:
        _print_profile(found, findings_of(found))
    if write:
        file = write_draft(found)
        Console(stderr=as_json).print(f"Wrote {len(draft['expectations'])} rules to {file}.", soft_wrap=True)
    elif not as_json:
        _print_draft(draft)


def _feed(night: Cycle, name: str) -> "FeedName":
    night.market.feed(name)
    return next(feed for feed in night.market.feeds if feed == name)


def _bars() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print_profile(profile: "FeedProfile", findings: Sequence[str]) -> None:
    told = f"[bold]{profile.feed}[/] of '{profile.market}' as of {profile.as_of}: {profile.rows:,} {profile.grain}"
    console.print(told, soft_wrap=True)
    table = plain_table()
    for name in ("column", "type", "role"):
        table.add_column(name, no_wrap=True)
    for name in ("missing", "distinct", "min", "1 / 25 / 50 / 75 / 99 %", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most frequent", no_wrap=True)
    for column in profile.columns:
        table.add_row(*_column_cells(column))
    print_wide(table)
    console.print("\n[bold]Suspicious[/]" if findings else "\nNothing looks suspicious.")
    for sentence in findings:
        console.print(f"- {escape(sentence)}", soft_wrap=True)


def _column_cells(column: "ColumnProfile") -> tuple[str, ...]:
    numbers = column.quantiles if isinstance(column.minimum, int | float) else ()
    return (
        escape(column.name) + ("" if column.required else " [dim]?[/]"),
        column.kind.removesuffix("[day]").removesuffix("[us]"),
        column.role,
        f"{column.null_share:.2%}" if column.nulls else "-",
        f"{column.distinct:,}",
        _end(column.minimum),
        " / ".join(f"{value:g}" for value in numbers),
        _end(column.maximum),
        "[dim]never shown[/]" if column.role == "personal" else escape(cut(", ".join(column.examples), EXAMPLES_WIDTH)),
    )


def _end(value: Any) -> str:  # noqa: ANN401 - the least or greatest value of any column
    if value is None or isinstance(value, str | bool):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_draft(draft: dict[str, Any]) -> None:
    console.print(f"\n[bold]Draft of a suite[/] '{escape(draft['name'])}' (--write keeps it)")
    table = plain_table()
    for name in ("rule", "severity", "reason"):
        table.add_column(name, no_wrap=True)
    for rule in draft["expectations"]:
        table.add_row(rule["meta"]["rule"], rule["severity"], escape(rule["meta"]["reason"]))
    print_wide(table)
