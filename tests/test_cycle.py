"""The as-of day, and what hangs on it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cycle import Cycle, as_of_day, logical_date_of, open_cycle
from pipeline.errors import ConfigError
from tests.conftest import AS_OF, HISTORY_START, MarketWriter

ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Shanghai", "Pacific/Kiritimati", "America/St_Johns"]


@given(
    day=st.dates(date(1990, 1, 1), date(2060, 12, 31)),
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
def test_as_of_day_is_the_day_before_the_run_in_every_zone_and_over_every_change_of_the_clock(
    day: date, zone: str, hour: int, minute: int
) -> None:
    due = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    assert as_of_day(due.astimezone(UTC), due, ZoneInfo(zone)) == day


def test_as_of_day_is_yesterday_in_the_market_not_in_utc() -> None:
    just_after_midnight_in_utc = datetime(2017, 12, 1, 0, 30, tzinfo=UTC)
    assert as_of_day(just_after_midnight_in_utc, just_after_midnight_in_utc, ZoneInfo("America/New_York")) == date(
        2017, 11, 29
    )
    assert as_of_day(just_after_midnight_in_utc, just_after_midnight_in_utc, ZoneInfo("UTC")) == date(2017, 11, 30)


def test_run_without_logical_date_falls_back_on_run_after() -> None:
    assert as_of_day(None, datetime(2021, 3, 2, 9, tzinfo=UTC), ZoneInfo("UTC")) == date(2021, 3, 1)


def test_markets_scheduled_instant_has_the_day_before_as_its_as_of_day(small_cycle: Cycle) -> None:
    due = logical_date_of(AS_OF, small_cycle.market)
    assert (due.hour, due.minute) == (5, 0)
    assert as_of_day(due, due, small_cycle.market.zone) == AS_OF


def test_seed_depends_on_market_and_day_alone(small_cycle: Cycle, small_market: MarketWriter) -> None:
    assert small_cycle.seed == open_cycle(small_market(), AS_OF).seed
    assert small_cycle.seed != open_cycle(small_market(), AS_OF - timedelta(days=1)).seed


def test_day_before_the_history_is_refused(small_market: MarketWriter) -> None:
    with pytest.raises(ConfigError, match=f"starts on {HISTORY_START}"):
        open_cycle(small_market(), HISTORY_START - timedelta(days=1))
