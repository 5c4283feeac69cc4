"""The stages one by one, as Airflow's tasks run them."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.cli.app import CandidateOption, DateOption, FeedOption, MarketArgument, app
from pipeline.cli.progress import show_fit, show_stage
from pipeline.cycle import Cycle, open_cycle

__all__ = ["backtest", "collect", "evaluate", "preprocess", "promote", "publish", "recorded", "train", "validate"]


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
def backtest(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Forecast the past with the candidates, from rolling origins."""
    night = open_cycle(market, day.date())
    chosen = _candidates(night, candidate)
    from pipeline import backtest as stage

    with recorded(night):
        for name in chosen:
            show_fit(f"backtest {name}", stage.run, night, name)


@app.command()
def train(market: MarketArgument, day: DateOption, candidate: CandidateOption = None) -> None:
    """Fit the candidates, calibrate them by their backtests, and log them to MLflow."""
    night = open_cycle(market, day.date())
    chosen = _candidates(night, candidate)
    from pipeline import train as stage

    with recorded(night):
        for name in chosen:
            show_fit(f"train {name}", stage.run, night, name)


@app.command()
def evaluate(market: MarketArgument, day: DateOption) -> None:
    """Score the candidates' backtests and say who wins."""
    night = open_cycle(market, day.date())
    from pipeline import evaluate as stage

    with recorded(night):
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


def _candidates(night: Cycle, wanted: list[str] | None) -> list[str]:
    """Return the candidates asked for, or all of them, members before their ensembles.

    Raises:
        ConfigError: if the market has no such candidate.
    """
    for name in wanted or ():
        night.market.candidate(name)
    return [name for name in night.market.candidates_in_order if not wanted or name in wanted]


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
