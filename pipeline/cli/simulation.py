"""`simulate`: write a simulated market's feeds, and what is truly so, as files to look at."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.cli.app import MarketArgument, app, console
from pipeline.errors import ConfigError
from pipeline.feeds import FeedName, Grain
from pipeline.market import Market, load_market
from pipeline.sources import SimulatorSource

__all__ = ["simulate"]


@app.command()
def simulate(
    market: MarketArgument,
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day; the feeds are as known on it.")],
    out: Annotated[Path, typer.Option(help="A new folder to write.")],
    *,
    truth: Annotated[bool, typer.Option("--truth", help="Write true demand, elasticities and uplifts beside.")] = False,
    daily: Annotated[bool, typer.Option("--daily", help="A file a day instead of a file a month.")] = False,
) -> None:
    """Write a simulated market as Parquet files."""
    loaded = load_market(market)
    feeds = _simulated_feeds(loaded)
    from pipeline.simulate.export import export

    first, last = since.date(), until.date()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("the world", total=None)

        def show(table: str, day: date) -> None:
            bars.update(bar, description=f"{table} {day}", completed=(day - first).days, total=(last - first).days)

        written = export(
            loaded.simulator,
            feeds,
            out,
            since=first,
            until=last,
            period="day" if daily else "month",
            with_truth=truth,
            progress=show,
        )
    board = Table("table", "rows", box=None, header_style="bold")
    for name, rows in written.rows.items():
        board.add_row(name, f"{rows:,}")
    console.print(board)
    console.print(f"Wrote {written.files:,} files to {out}.", soft_wrap=True)


def _simulated_feeds(market: Market) -> dict[FeedName, Grain]:
    """Return the market's simulated feeds with their grain.

    Raises:
        ConfigError: if it has none.
    """
    from pipeline.collect.sources.simulator import Simulator
    from pipeline.feeds import FEEDS

    found: dict[FeedName, Grain] = {
        name: Simulator(settings, market).grain(FEEDS[name])
        for name, settings in market.feeds.items()
        if isinstance(settings, SimulatorSource)
    }
    if not found:
        msg = (
            f"No feed of the market '{market.name}' has 'source: simulator'; give a simulated one, or change its file."
        )
        raise ConfigError(msg)
    return found
