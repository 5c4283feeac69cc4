"""`run`, `cycle` and `ui`: a whole night, on the embedded Airflow or in this process, and the pages to look at."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.app import DateOption, MarketArgument, app, console
from pipeline.cli.progress import show_fit, show_stage
from pipeline.cli.stages import recorded
from pipeline.cycle import Cycle, Home, open_cycle

__all__ = ["cycle", "run", "ui"]


@app.command()
def run(market: MarketArgument, day: DateOption) -> None:
    """Run one night on the embedded Airflow, and stop it again."""
    from pipeline.engine import run_night

    cycle = open_cycle(market, day.date())
    result = run_night(cycle.market.file, cycle.as_of, cycle.home, console)
    if not result.succeeded:
        raise typer.Exit(1)
    _tell(cycle)
    console.print(
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

    serve_ui(Home.from_environment(), console, open_browser=browser, airflow_port=airflow_port, mlflow_port=mlflow_port)


@app.command()
def cycle(market: MarketArgument, day: DateOption) -> None:
    """Run one night in this process, stage by stage, without Airflow."""
    night = open_cycle(market, day.date())
    from pipeline import backtest, collect, evaluate, preprocess, publish, train, validate
    from pipeline.evaluate import promote
    from pipeline.publish import report

    with recorded(night):
        for feed in night.market.feeds:
            show_stage(f"collect {feed}", collect.run, night, feed)
            show_stage(f"validate {feed}", validate.run, night, feed)
        show_stage("preprocess", preprocess.run, night)
        for name in night.market.candidates_in_order:
            show_fit(f"backtest {name}", backtest.run, night, name)
            show_fit(f"train {name}", train.run, night, name)
        show_stage("evaluate", evaluate.run, night)
        show_stage("promote", promote.run, night)
        show_stage("publish", publish.run, night)
        show_stage("report", report.run, night)
    _tell(night)


def _tell(night: Cycle) -> None:
    """Print what a person wants to know of a finished night."""
    from pipeline.publish.summary import summarise

    summary = summarise(night)
    console.print()
    console.rule(f"{night.market.title}, {night.as_of}")
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
    console.print(board)
    for line in summary.sentences():
        console.print(escape(line), soft_wrap=True)
