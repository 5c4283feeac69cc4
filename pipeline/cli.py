"""`trendmill …`: the embedded engine, and the same stages without Airflow."""

import errno
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from pipeline import __version__
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import TrendmillError
from pipeline.market import load_market
from pipeline.stage import StageReport

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Daily demand forecasting: collect, validate, train, choose, publish.",
)
FULL_DISK_BYTES = 16 * 1024**2
"""Free space below which a failure is taken for one of a full disk."""

_console = Console()
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
        _console.print(f"trendmill {__version__}")
        raise typer.Exit


@app.command()
def run(market: MarketArgument, day: DateOption) -> None:
    """Run one night on the embedded Airflow, and stop it again."""
    from pipeline.engine import run_night

    cycle = open_cycle(market, day.date())
    result = run_night(cycle.market.file, cycle.as_of, cycle.home, _console)
    if not result.succeeded:
        raise typer.Exit(1)
    _tell(cycle)
    _console.print(
        f"It took {result.total_seconds:.0f} s, {result.engine_start_seconds:.0f} s of them to start Airflow, and "
        f"{result.peak_memory_bytes / 1024**3:.1f} GB of memory at most.",
        soft_wrap=True,
    )


@app.command()
def ui(
    airflow_port: Annotated[int | None, typer.Option(help="Port of Airflow's page; 8080, or a free one.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Port of MLflow's page; 5000, or a free one.")] = None,
    *,
    browser: Annotated[bool, typer.Option(help="Open the pages in the browser.")] = True,
) -> None:
    """Open Airflow, MLflow and the newest report, until Ctrl-C."""
    from pipeline.engine import serve_ui

    serve_ui(
        Home.from_environment(), _console, open_browser=browser, airflow_port=airflow_port, mlflow_port=mlflow_port
    )


@app.command()
def cycle(market: MarketArgument, day: DateOption) -> None:
    """Run one night in this process, stage by stage, without Airflow."""
    night = open_cycle(market, day.date())
    from pipeline import collect, evaluate, preprocess, publish, train, validate
    from pipeline.evaluate import backtest, promote
    from pipeline.publish import report

    with _recorded(night):
        for feed in night.market.feeds:
            _stage(f"collect {feed}", collect.run, night, feed)
            _stage(f"validate {feed}", validate.run, night, feed)
        _stage("preprocess", preprocess.run, night)
        for name in night.market.candidates:
            _fit(f"train {name}", train.run, night, name)
            _fit(f"backtest {name}", backtest.run, night, name)
        _stage("evaluate", evaluate.run, night)
        _stage("promote", promote.run, night)
        _stage("publish", publish.run, night)
        _stage("report", report.run, night)
    _tell(night)


@app.command()
def collect(market: MarketArgument, day: DateOption, feed: FeedOption = None) -> None:
    """Land what the sources say."""
    night = open_cycle(market, day.date())
    from pipeline import collect as stage

    for name in feed or night.market.feeds:
        _stage(f"collect {name}", stage.run, night, name)


@app.command()
def validate(market: MarketArgument, day: DateOption, feed: FeedOption = None) -> None:
    """Let the landed batches through the gate, into the lake."""
    night = open_cycle(market, day.date())
    from pipeline import validate as stage

    for name in feed or night.market.feeds:
        _stage(f"validate {name}", stage.run, night, name)


@app.command()
def preprocess(market: MarketArgument, day: DateOption) -> None:
    """Build the panel from what was known on the day."""
    night = open_cycle(market, day.date())
    from pipeline import preprocess as stage

    _stage("preprocess", stage.run, night)


@app.command()
def train(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Fit the candidates and log them to MLflow."""
    night = open_cycle(market, day.date())
    for name in candidate or ():
        night.market.candidate(name)
    from pipeline import train as stage

    with _recorded(night):
        for name in candidate or night.market.candidates:
            _fit(f"train {name}", stage.run, night, name)


@app.command()
def evaluate(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Backtest the candidates (or only some of them again) and say who wins."""
    night = open_cycle(market, day.date())
    for name in candidate or ():
        night.market.candidate(name)
    from pipeline import evaluate as stage
    from pipeline.evaluate import backtest

    with _recorded(night):
        for name in candidate or night.market.candidates:
            _fit(f"backtest {name}", backtest.run, night, name)
        _stage("evaluate", stage.run, night)


@app.command()
def promote(market: MarketArgument, day: DateOption) -> None:
    """Register the winner and make it the champion."""
    night = open_cycle(market, day.date())
    from pipeline.evaluate import promote as stage

    _stage("promote", stage.run, night)


@app.command()
def publish(market: MarketArgument, day: DateOption) -> None:
    """Archive the vintage of forecasts and write the report."""
    night = open_cycle(market, day.date())
    from pipeline import publish as stage
    from pipeline.publish import report

    _stage("publish", stage.run, night)
    _stage("report", report.run, night)


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
    _console.print(f"Wrote {rows:,} rows of the vintage {day} to {out}.", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Check the installation and say what is wrong."""
    from pipeline.doctor import diagnose

    findings = diagnose(Home.from_environment())
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[bold red]FAIL[/]"
        remedy = "" if finding.ok else f" -> {finding.remedy}"
        _console.print(f"{mark} {escape(finding.name)}: {escape(finding.detail)}{escape(remedy)}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@contextmanager
def _recorded(night: Cycle) -> Iterator[None]:
    """Open the cycle's MLflow runs, and close them with how it went."""
    from pipeline import tracking

    _stage("begin", tracking.begin, night)
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        tracking.close(night, succeeded=succeeded)


def _stage(title: str, work: Callable[..., StageReport], *arguments: object) -> None:
    """Run a stage behind a spinner and print what it says."""
    started = time.perf_counter()
    with _bars() as bars:
        bars.add_task(title, total=None)
        report = work(*arguments)
    _say(title, time.perf_counter() - started, report)


def _fit(title: str, work: Callable[..., StageReport], *arguments: object) -> None:
    """Run a stage that fits a candidate behind a progress bar with its learning curve, and print what it says."""
    started = time.perf_counter()
    with _bars() as bars:
        bar = bars.add_task(title, total=None)

        def progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            bars.update(bar, completed=step, total=steps, description=f"{title} {shown}")

        report = work(*arguments, progress)
    _say(title, time.perf_counter() - started, report)


def _bars() -> Bars:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Bars(*columns, console=_console, transient=True, disable=not _console.is_terminal)


def _say(title: str, seconds: float, report: StageReport) -> None:
    _console.print(f"{seconds:6.1f} s  [bold]{escape(title)}[/]  {escape(report.summary())}", soft_wrap=True)


def _tell(night: Cycle) -> None:
    """Print what a person wants to know of a finished night."""
    from pipeline.publish.summary import summarise

    summary = summarise(night)
    _console.print()
    _console.rule(f"{night.market.title}, {night.as_of}")
    board = Table("candidate", "WQL", "vs naive", "WAPE", "bias", "80 % coverage", box=None, header_style="bold")
    for row in summary.leaderboard:
        style = "bold green" if row.candidate == summary.winner else ""
        gain = "baseline" if row.candidate == summary.baseline else f"{-row.gain:+.1%}"
        board.add_row(
            row.candidate,
            f"{row.wql:.4f}",
            gain,
            f"{row.wape:.1%}",
            f"{row.bias:+.1%}",
            f"{row.coverage_80:.1%}",
            style=style,
        )
    _console.print(board)
    for line in summary.sentences():
        _console.print(escape(line), soft_wrap=True)
