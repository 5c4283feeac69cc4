"""Days on which people shop differently: public holidays by the library `holidays`, shopping festivals, pay days."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import holidays
import pyarrow as pa

from pipeline.collect.sources.base import Window
from pipeline.errors import SourceError
from pipeline.feeds import Feed, Grain
from pipeline.sources import Festival, HolidaysSource

__all__ = ["PublicHolidays"]

_FRIDAY = 4
_SPRING_FESTIVAL = "Chinese New Year (Spring Festival)"


class PublicHolidays:
    """The feed `calendar` of one country, in three kinds: `public_holiday`, `festival` and `pay_day`."""

    def __init__(self, settings: HolidaysSource) -> None:
        self._settings = settings

    def grain(self, feed: Feed) -> Grain:
        """Return `facts`: a row a day and event."""
        if feed.name != "calendar":
            msg = f"The source 'holidays' delivers the feed 'calendar' only, not '{feed.name}'; give another source."
            raise SourceError(msg)
        return "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the country's events in the order of their days.

        Raises:
            SourceError: if the library does not know the country.
        """
        # A pay day of the month after the window may be moved back into it, over the turn of a year as well.
        years = range(window.since.year, window.until.year + 2)
        public = self._public_holidays(years)
        events = {(day, name, "public_holiday") for day, name in public.items()}
        for festival in self._settings.festivals:
            events |= {(_FESTIVALS[festival](year), festival, "festival") for year in years}
        events |= {(day, "pay_day", "pay_day") for day in self._pay_days(years, public)}
        rows = [
            {"country": self._settings.country, "date": day, "event": event, "kind": kind}
            for day, event, kind in sorted(events)
            if window.since <= day <= window.until
        ]
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=feed.schema)

    def _public_holidays(self, years: range) -> Any:  # noqa: ANN401 - the library has no types
        try:
            return holidays.country_holidays(self._settings.country, years=years, language="en_US")
        except NotImplementedError as exc:
            country = self._settings.country
            msg = f"The library 'holidays' knows no country '{country}'; give an ISO code that it supports."
            raise SourceError(msg) from exc

    def _pay_days(self, years: range, public: Any) -> set[date]:  # noqa: ANN401
        """Return the days on which wages are paid: where banks rest, the last working day before."""
        nominal = (
            _day_of_month(year, month, day)
            for year in years
            for month in range(1, 13)
            for day in self._settings.pay_days
        )
        return {day if public.is_working_day(day) else public.get_nth_working_day(day, -1) for day in nominal}


def _day_of_month(year: int, month: int, day: int) -> date:
    """Return a day of a month; negative ones are counted from its end, -1 being the last."""
    if day > 0:
        return date(year, month, day)
    return date(year + month // 12, month % 12 + 1, 1) + timedelta(days=day)


def _black_friday(year: int) -> date:
    """Return the day after Thanksgiving, the fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(_FRIDAY - 1 - first.weekday()) % 7 + 22)


def _spring_festival(year: int) -> date:
    """Return the first day of the Chinese New Year."""
    return min(holidays.country_holidays("CN", years=year, language="en_US").get_named(_SPRING_FESTIVAL))


_FESTIVALS: Mapping[Festival, Callable[[int], date]] = {
    "double_11": lambda year: date(year, 11, 11),
    "618": lambda year: date(year, 6, 18),
    "black_friday": _black_friday,
    "cyber_monday": lambda year: _black_friday(year) + timedelta(days=3),
    "spring_festival": _spring_festival,
}
