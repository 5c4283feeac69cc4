"""`maintain`: keep a market's lake in good order, as Airflow does each week."""

from pipeline.cli.app import DateOption, MarketArgument, app
from pipeline.cli.progress import show_fit
from pipeline.cycle import open_cycle

__all__ = ["maintain"]


@app.command()
def maintain(market: MarketArgument, day: DateOption) -> None:
    """Join small files, remove old versions of tables and landed batches past their retention."""
    night = open_cycle(market, day.date())
    from pipeline import maintain as stage

    show_fit("maintain", stage.run, night)
