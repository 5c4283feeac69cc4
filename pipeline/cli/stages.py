"""The stages one by one, as Airflow's tasks run them."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.cli.app import CandidateOption, DateOption, FeedOption, MarketArgument, app
from pipeline.cli.progress import show_fit, show_stage
from pipeline.cycle import Cycle, open_cycle

__all__ = ["collect", "evaluate", "preprocess", "promote", "publish", "recorded", "train", "validate"]


@app.command()
def collect(market: MarketArgument, day: DateOption, feed: FeedOption = None) -> None:
    """Land what the sources say."""
    night = open_cycle(market, day.date())
    from pipeline import collect as stage

    for name in feed or night.market.feeds:
        show_stage(f"collect {name}", stage.run, night, name)


@app.command()
def validate(market: MarketArgument, day: DateOption, feed: FeedOption = None) -> None:
    """Let the landed batches through the gate, into the lake."""
    night = open_cycle(market, day.date())
    from pipeline import validate as stage

    for name in feed or night.market.feeds:
        show_stage(f"validate {name}", stage.run, night, name)


@app.command()
def preprocess(market: MarketArgument, day: DateOption) -> None:
    """Build the panel from what was known on the day."""
    night = open_cycle(market, day.date())
    from pipeline import preprocess as stage

    show_stage("preprocess", stage.run, night)


@app.command()
def train(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Fit the candidates and log them to MLflow."""
    night = open_cycle(market, day.date())
    for name in candidate or ():
        night.market.candidate(name)
    from pipeline import train as stage

    with recorded(night):
        for name in candidate or night.market.candidates:
            show_fit(f"train {name}", stage.run, night, name)


@app.command()
def evaluate(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Backtest the candidates (or only some of them again) and say who wins."""
    night = open_cycle(market, day.date())
    for name in candidate or ():
        night.market.candidate(name)
    from pipeline import evaluate as stage
    from pipeline.evaluate import backtest

    with recorded(night):
        for name in candidate or night.market.candidates:
            show_fit(f"backtest {name}", backtest.run, night, name)
        show_stage("evaluate", stage.run, night)


@app.command()
def promote(market: MarketArgument, day: DateOption) -> None:
    """Register the winner and make it the champion."""
    night = open_cycle(market, day.date())
    from pipeline.evaluate import promote as stage

    show_stage("promote", stage.run, night)


@app.command()
def publish(market: MarketArgument, day: DateOption) -> None:
    """Archive the vintage of forecasts and write the report."""
    night = open_cycle(market, day.date())
    from pipeline import publish as stage
    from pipeline.publish import report

    show_stage("publish", stage.run, night)
    show_stage("report", report.run, night)


@contextmanager
def recorded(night: Cycle) -> Iterator[None]:
    """Open the cycle's MLflow runs, and close them with how it went."""
    from pipeline import tracking

    show_stage("begin", tracking.begin, night)
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        tracking.close(night, succeeded=succeeded)
