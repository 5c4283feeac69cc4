"""`forecasts` takes published forecasts out; `doctor` checks the installation."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.app import MarketArgument, app, console
from pipeline.cycle import Home
from pipeline.market import load_market

__all__ = ["doctor", "forecasts"]


@app.command()
def forecasts(
    market: MarketArgument,
    out: Annotated[Path, typer.Option(help="File to write: .csv or .parquet.")],
    vintage: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="As-of day of the forecasts; the newest without it."),
    ] = None,
) -> None:
    """Export published forecasts."""
    from pipeline.publish.export import export_forecasts

    day, rows = export_forecasts(load_market(market), Home.from_environment(), vintage.date() if vintage else None, out)
    console.print(f"Wrote {rows:,} rows of the vintage {day} to {out}.", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Check the installation and say what is wrong."""
    from pipeline.doctor import diagnose

    findings = diagnose(Home.from_environment())
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[bold red]FAIL[/]"
        remedy = "" if finding.ok else f" -> {finding.remedy}"
        console.print(f"{mark} {escape(finding.name)}: {escape(finding.detail)}{escape(remedy)}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
