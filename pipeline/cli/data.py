"""`quarantine` and `batches`: what came in, what was refused and why, and what to do about it."""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.app import DateOption, FeedOption, MarketArgument, app, console
from pipeline.cli.progress import show_stage
from pipeline.cli.tables import JsonOption, cut, plain_table, print_wide
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, StageError
from pipeline.market import load_market

if TYPE_CHECKING:
    from pipeline.feeds import FeedName
    from pipeline.validate.ledger import LedgerLine
    from pipeline.validate.quarantine import BadRow, BadRowCount, Status

__all__ = ["batches", "discard", "list_rows", "release", "show"]

ROW_WIDTH = 60
"""So many characters of a row are shown in a list."""

_STYLES: dict[str, str] = {"open": "yellow", "gone": "dim", "released": "green", "discarded": "dim"}

NoteOption = Annotated[str | None, typer.Option(help="Why; it is kept with the decision.")]
RuleOption = Annotated[str | None, typer.Option("--rule", help="Only rows that broke this rule.")]
IdsArgument = Annotated[list[str], typer.Argument(help="Ids of rows; their first 4 characters or more are enough.")]

quarantine = typer.Typer(no_args_is_help=True, help="Look at the rows that the gate has refused, and decide on them.")
app.add_typer(quarantine, name="quarantine")


@quarantine.command("list")
def list_rows(
    market: MarketArgument,
    feed: FeedOption = None,
    rule: RuleOption = None,
    status: Annotated[
        Literal["open", "gone", "released", "discarded", "all"],
        typer.Option(help="Where the rows stand; 'gone' ones were mended in their source."),
    ] = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 50,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the bad rows, the last seen first, below how many there are for each rule."""
    from pipeline.validate.quarantine import Choice, bad_rows, count_bad_rows

    any_day = _any_day(market, feed)
    choice = Choice(feeds=feed, rule=rule, status=None if status == "all" else status)
    rows = bad_rows(any_day.lake, choice, limit)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], indent=1))
        return
    counts = count_bad_rows(any_day.lake, choice)
    total = sum(count.rows for count in counts)
    if not total:
        kind = "rows" if status == "all" else f"{status} rows"
        console.print(f"The quarantine of '{any_day.market.name}' has no such {kind}.", soft_wrap=True)
        return
    print_wide(_counts_table(counts))
    console.print()
    print_wide(_rows_table(rows))
    if total > len(rows):
        console.print(f"Shown are {len(rows):,} of {total:,} rows; --limit shows more.", style="dim")


@quarantine.command()
def show(
    market: MarketArgument,
    id_: Annotated[str, typer.Argument(metavar="ID", help="A row's id; its first 4 characters or more are enough.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show all of one bad row: what it says, which cycles met it, and what was decided."""
    from pipeline.validate.quarantine import decisions_about, find_bad_rows, sightings_of

    any_day = _any_day(market)
    (row,) = find_bad_rows(any_day.lake, any_day.market.name, [id_])
    sightings, decisions = sightings_of(any_day.lake, row), decisions_about(any_day.lake, row)
    if as_json:
        history = {
            "cycles": [str(sighting.cycle) for sighting in sightings],
            "decisions": [{"date": str(day), "decision": said, "note": note} for day, said, note in decisions],
        }
        typer.echo(json.dumps(row.as_dict() | history, indent=1))
        return
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("id", row.id)
    facts.add_row("feed", f"{row.feed} ({row.grain})")
    facts.add_row("rule", escape(row.rule))
    facts.add_row("reason", escape(row.reason))
    facts.add_row("status", _standing(row))
    if row.copies > 1:
        facts.add_row("copies", f"{row.copies:,} rows that look alike")
    for column, value in row.content.items():
        facts.add_row(f"  {escape(column)}", "[dim]-[/]" if value is None else escape(str(value)))
    for day, decision, note in decisions:
        facts.add_row(str(day), escape(decision + (f": {note}" if note else "")))
    facts.add_row("seen", _seen([sighting.cycle for sighting in sightings]))
    console.print(facts)


@quarantine.command()
def release(
    market: MarketArgument,
    day: DateOption,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of rows, or their first 4 characters or more.")] = None,
    all_of_rule: Annotated[str | None, typer.Option(help="Every open row that broke this rule.")] = None,
    feed: FeedOption = None,
    note: NoteOption = None,
) -> None:
    """Let rows into the facts after all; they count as known from the given day on."""
    from pipeline.validate import decisions

    night = open_cycle(market, day.date())
    rows = _to_release(night, ids or [], all_of_rule, feed)
    decisions.release(night, rows, note)
    console.print(f"Released {_how_many(rows)} as of {night.as_of}.", soft_wrap=True)
    for name in dict.fromkeys(row.feed for row in rows):
        _bring_in(night, name)


@quarantine.command()
def discard(market: MarketArgument, ids: IdsArgument, day: DateOption, note: NoteOption = None) -> None:
    """Put rows aside for good: they are wrong, and nobody needs to look at them again."""
    from pipeline.validate import decisions
    from pipeline.validate.quarantine import find_bad_rows

    night = open_cycle(market, day.date())
    rows = find_bad_rows(night.lake, night.market.name, ids)
    decisions.discard(night, rows, note)
    console.print(f"Discarded {_how_many(rows)} as of {night.as_of}.", soft_wrap=True)
    for name in dict.fromkeys(row.feed for row in rows if row.status == "released"):
        _bring_in(night, name)


@app.command()
def batches(
    market: MarketArgument,
    feed: FeedOption = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only the newest so many cycles.")] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Only the cycle of this day.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the ledger: where every landed row went. Ends with exit code 1 where a batch does not balance."""
    from pipeline.validate.ledger import ledger_lines

    any_day = _any_day(market, feed)
    lines = ledger_lines(any_day.lake, feed, last, day.date() if day else None)
    if as_json:
        typer.echo(json.dumps([line.as_dict() for line in lines], indent=1))
    elif lines:
        print_wide(_ledger_table(lines))
    else:
        console.print(f"The ledger of '{any_day.market.name}' has no such batch.", soft_wrap=True)
    lost = [line for line in lines if not line.balances]
    if lost and not as_json:
        console.print(f"[bold red]{len(lost)} of {len(lines)} batches do not balance.[/]", soft_wrap=True)
    if lost:
        raise typer.Exit(1)


def _any_day(market: str, feeds: Iterable[str] | None = None) -> Cycle:
    """Return a cycle of the market for commands that look at all of its days."""
    loaded = load_market(market)
    for feed in feeds or ():
        loaded.feed(feed)
    return Cycle(loaded, loaded.history_start, Home.from_environment())


def _to_release(night: Cycle, ids: Sequence[str], rule: str | None, feeds: list[str] | None) -> list["BadRow"]:
    from pipeline.validate.decisions import obstacle_to_release
    from pipeline.validate.quarantine import Choice, bad_rows, find_bad_rows

    if bool(ids) == bool(rule):
        msg = "Give either the ids of the rows to release or --all-of-rule."
        raise ConfigError(msg)
    if rule is None:
        return find_bad_rows(night.lake, night.market.name, ids)
    waiting = bad_rows(night.lake, Choice(feeds=feeds, rule=rule, status="open"))
    if not waiting:
        msg = f"No open row in the quarantine of '{night.market.name}' broke the rule '{rule}'; nothing was released."
        raise ConfigError(msg)
    obstacles = {row: obstacle_to_release(night, row) for row in waiting}
    kept = [sentence for sentence in obstacles.values() if sentence]
    if len(kept) == len(waiting):
        raise ConfigError(kept[0])
    if kept:
        console.print(f"{len(kept):,} of {len(waiting):,} rows stay, the first: {escape(kept[0])}", soft_wrap=True)
    return [row for row, sentence in obstacles.items() if sentence is None]


def _bring_in(night: Cycle, feed: "FeedName") -> None:
    """Let the gate follow what was decided, where the day's batch is there, and print what that changed."""
    from pipeline import collect, validate
    from pipeline.validate.ledger import ledger_lines

    before = ledger_lines(night.lake, [feed], day=night.as_of)
    try:
        collect.landed(night, feed)
    except StageError:
        console.print(escape(_without_batch(night, feed, passed=bool(before))), soft_wrap=True)
        return
    show_stage(f"validate {feed}", validate.run, night, feed)
    after = ledger_lines(night.lake, [feed], day=night.as_of)
    if before and after:
        console.print(f"        {_changes(before[0], after[0])}", soft_wrap=True)


def _without_batch(night: Cycle, feed: str, *, passed: bool) -> str:
    if passed:
        return (
            f"The batch of '{feed}' of {night.as_of} is no longer in the landing zone: run 'trendmill collect' and "
            f"'trendmill validate' for that day again, so that the decision takes effect."
        )
    return f"Nothing of '{feed}' has landed for {night.as_of} yet: it takes effect with that night's collection."


def _changes(before: "LedgerLine", after: "LedgerLine") -> str:
    told = [
        f"{name} {getattr(before, attribute):,} -> {getattr(after, attribute):,}"
        for name, attribute in (
            ("accepted", "accepted"),
            ("quarantined", "quarantined"),
            ("facts written", "revised"),
        )
        if getattr(before, attribute) != getattr(after, attribute)
    ]
    return f"changed: {', '.join(told)}" if told else "The facts and the ledger stay as they were."


def _how_many(rows: Sequence["BadRow"]) -> str:
    feeds = ", ".join(f"'{feed}'" for feed in dict.fromkeys(row.feed for row in rows))
    return f"{len(rows):,} row{'s' * (len(rows) != 1)} of {feeds}"


def _counts_table(counts: Sequence["BadRowCount"]) -> Table:
    table = plain_table()
    for name in ("feed", "rule", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("reason", no_wrap=True)
    for count in counts:
        table.add_row(count.feed, escape(count.rule), _styled(count.status), f"{count.rows:,}", escape(count.reason))
    return table


def _rows_table(rows: Sequence["BadRow"]) -> Table:
    table = plain_table()
    for name in ("id", "feed", "day", "rule", "first seen", "last seen", "status", "row"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            row.id,
            row.feed,
            str(row.day or "-"),
            escape(row.rule),
            str(row.first_seen),
            str(row.last_seen),
            _styled(row.status),
            escape(cut(_rendered(row), ROW_WIDTH)),
        )
    return table


def _ledger_table(lines: Sequence["LedgerLine"]) -> Table:
    table = plain_table()
    for name in ("cycle", "feed"):
        table.add_column(name, no_wrap=True)
    for name in ("landed", "= accepted", "+ quarantined", "+ duplicates", "", "released", "facts written"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("window", "kind"):
        table.add_column(name, no_wrap=True)
    for line in lines:
        counts = [f"{count:,}" for count in (line.landed, line.accepted, line.quarantined, line.duplicates)]
        table.add_row(
            str(line.cycle),
            line.feed,
            *counts,
            "[green]✓[/]" if line.balances else "✗",
            f"{line.released:,}" if line.released else "-",
            f"{line.revised:,}",
            f"{line.since} – {line.until}",
            f"{'history' if line.initial else 'look-back'}, {line.grain}",
            style="" if line.balances else "bold red",
        )
    return table


def _rendered(row: "BadRow") -> str:
    """Return the row in short: its values without the day, which stands beside it, and without what is missing."""
    told = {name: value for name, value in row.content.items() if value is not None and str(value) != str(row.day)}
    return ", ".join(f"{name} {_short(value)}" for name, value in told.items())


def _short(value: Any) -> str:  # noqa: ANN401 - any value of JSON
    return f"{value:g}" if isinstance(value, float) else str(value)


def _standing(row: "BadRow") -> str:
    if row.decided_on:
        return f"{_styled(row.status)} on {row.decided_on}"
    if row.status == "gone":
        return f"{_styled(row.status)}: its source has not delivered it again since {row.last_seen}"
    return _styled(row.status)


def _styled(status: "Status") -> str:
    return f"[{_STYLES[status]}]{status}[/]"


def _seen(cycles: Sequence[date]) -> str:
    if len(cycles) == 1:
        return f"by the cycle of {cycles[0]}"
    return f"by {len(cycles):,} cycles, {cycles[0]} to {cycles[-1]}"
