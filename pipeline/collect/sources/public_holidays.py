"""Public holidays of a country, computed by the library `holidays`."""

from collections.abc import Iterator

import holidays
import pyarrow as pa

from pipeline.collect.sources.base import Window
from pipeline.errors import SourceError
from pipeline.feeds import Feed, Grain
from pipeline.sources import HolidaysSource

__all__ = ["PublicHolidays"]


class PublicHolidays:
    """The feed `calendar` of one country."""

    def __init__(self, settings: HolidaysSource) -> None:
        self._country = settings.country

    def grain(self, feed: Feed) -> Grain:
        """Return `facts`: a row a holiday."""
        if feed.name != "calendar":
            msg = f"The source 'holidays' delivers the feed 'calendar' only, not '{feed.name}'; give another source."
            raise SourceError(msg)
        return "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the country's public holidays.

        Raises:
            SourceError: if the library does not know the country.
        """
        try:
            found = holidays.country_holidays(
                self._country, years=range(window.since.year, window.until.year + 1), language="en_US"
            )
        except NotImplementedError as exc:
            msg = f"The library 'holidays' knows no country '{self._country}'; give an ISO code that it supports."
            raise SourceError(msg) from exc
        rows = [
            {"country": self._country, "date": day, "event": name, "kind": "public_holiday"}
            for day, name in sorted(found.items())
            if window.since <= day <= window.until
        ]
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=feed.schema)
