"""The calendar: public holidays, shopping festivals and pay days, against dates from almanacs and plain counting."""

from calendar import FRIDAY, MONDAY, THURSDAY, Calendar, monthrange
from datetime import date, timedelta

import holidays
import pytest

from pipeline.collect.sources import PublicHolidays, Window
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import FEEDS
from pipeline.market import load_market
from pipeline.sources import HolidaysSource
from tests.conftest import MarketWriter

CHINESE_NEW_YEARS = [
    date(2010, 2, 14),
    date(2016, 2, 8),
    date(2019, 2, 5),
    date(2020, 1, 25),
    date(2021, 2, 12),
    date(2022, 2, 1),
    date(2023, 1, 22),
    date(2024, 2, 10),
    date(2025, 1, 29),
    date(2026, 2, 17),
    date(2033, 1, 31),
]
"""As almanacs give them."""


def events(since: date, until: date, country: str = "GB", **settings: object) -> list[tuple[date, str, str]]:
    source = PublicHolidays(HolidaysSource(source="holidays", country=country, **settings))
    batches = source.fetch(FEEDS["calendar"], Window(since, until, until))
    return [(row["date"], row["event"], row["kind"]) for batch in batches for row in batch.to_pylist()]


def days_of(kind: str, since: date, until: date, country: str = "GB", **settings: object) -> list[date]:
    return [day for day, _, found in events(since, until, country, **settings) if found == kind]


def test_public_holidays_alone_are_the_default() -> None:
    found = events(date(2024, 1, 1), date(2024, 12, 31))
    assert {kind for _, _, kind in found} == {"public_holiday"}
    assert (date(2024, 12, 25), "Christmas Day", "public_holiday") in found


@pytest.mark.parametrize("new_year", CHINESE_NEW_YEARS)
def test_spring_festival_is_the_first_day_of_the_chinese_new_year(new_year: date) -> None:
    found = days_of(
        "festival", new_year.replace(month=1, day=1), new_year.replace(month=12), festivals=["spring_festival"]
    )
    assert found == [new_year]


@pytest.mark.parametrize("year", range(2009, 2036))
def test_black_friday_and_cyber_monday_follow_thanksgiving(year: int) -> None:
    november = [day for day in Calendar().itermonthdates(year, 11) if day.month == 11]
    thanksgiving = [day for day in november if day.weekday() == THURSDAY][3]
    friday, monday = days_of(
        "festival", date(year, 1, 1), date(year, 12, 31), festivals=["black_friday", "cyber_monday"]
    )
    assert (friday - thanksgiving, friday.weekday()) == (timedelta(days=1), FRIDAY)
    assert (monday - thanksgiving, monday.weekday()) == (timedelta(days=4), MONDAY)


def test_festivals_of_fixed_days_come_each_year_and_within_the_window_only() -> None:
    found = days_of("festival", date(2022, 6, 18), date(2024, 11, 10), festivals=["double_11", "618"])
    assert found == [
        date(2022, 6, 18),
        date(2022, 11, 11),
        date(2023, 6, 18),
        date(2023, 11, 11),
        date(2024, 6, 18),
    ]


@pytest.mark.parametrize("country", ["GB", "US", "CN"])
def test_pay_days_are_the_last_working_day_up_to_theirs(country: str) -> None:
    rest = holidays.country_holidays(country, years=range(2022, 2025))
    expected = set()
    for month in range(1, 13):
        for nominal in (15, monthrange(2023, month)[1]):
            day = date(2023, month, nominal)
            # In China some weekends are working days.
            while not rest.is_working_day(day):
                day -= timedelta(days=1)
            expected.add(day)
    assert set(days_of("pay_day", date(2023, 1, 1), date(2023, 12, 31), country, pay_days=[15, -1])) == expected


def test_pay_day_of_the_next_month_is_moved_back_into_the_window() -> None:
    # 1 January is a holiday and 30 and 31 December 2023 are a weekend.
    assert days_of("pay_day", date(2023, 12, 20), date(2023, 12, 31), pay_days=[1]) == [date(2023, 12, 29)]


def test_same_event_stands_once_a_day_and_rows_are_in_order() -> None:
    found = events(date(2022, 1, 1), date(2024, 12, 31), pay_days=[-1, -2, 28], festivals=["double_11"])
    assert len({(day, event) for day, event, _ in found}) == len(found)
    assert [day for day, _, _ in found] == sorted(day for day, _, _ in found)


def test_country_that_nobody_knows_is_named() -> None:
    with pytest.raises(SourceError, match="knows no country 'XX'"):
        events(date(2024, 1, 1), date(2024, 12, 31), "XX")


@pytest.mark.parametrize(
    ("wrong", "message"), [({"pay_days": [0]}, "0 is no day of a month"), ({"festivals": ["eid"]}, "festivals")]
)
def test_wrong_settings_are_refused(small_market: MarketWriter, wrong: dict[str, object], message: str) -> None:
    feeds = {
        "sales": {"source": "files", "path": "sales.csv"},
        "calendar": {"source": "holidays", "country": "GB"} | wrong,
    }
    with pytest.raises(ConfigError, match=message):
        load_market(small_market(feeds=feeds))
