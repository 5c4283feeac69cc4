"""Source adapters: each turns what somebody else keeps into batches of a feed's contract."""

from pipeline.collect.sources.base import Source, Window
from pipeline.collect.sources.complete_journey import CompleteJourney
from pipeline.collect.sources.files import Files
from pipeline.collect.sources.public_holidays import PublicHolidays
from pipeline.market import Market
from pipeline.sources import (
    CompleteJourneySource,
    FilesSource,
    HolidaysSource,
    HttpSource,
    SimulatorSource,
    SourceSettings,
    SqlSource,
)

__all__ = ["CompleteJourney", "Files", "PublicHolidays", "Source", "Window", "open_source"]


def open_source(settings: SourceSettings, market: Market) -> Source:
    """Return the adapter that a feed's settings name."""
    match settings:
        case CompleteJourneySource():
            return CompleteJourney(market)
        case FilesSource():
            return Files(settings, market)
        case HolidaysSource():
            return PublicHolidays(settings)
        case HttpSource():
            from pipeline.collect.sources.http import Http

            return Http(settings, market)
        case SqlSource():
            from pipeline.collect.sources.sql import Sql

            return Sql(settings, market)
        case SimulatorSource():
            from pipeline.collect.sources.simulator import Simulator

            return Simulator(settings, market)
