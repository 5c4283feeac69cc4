"""Shopping festivals and public holidays: on which days they fall, and how demand swells before and sinks after."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.simulate.assortment import ASSORTMENT
from pipeline.simulate.settings import Festival, SimulatorSettings

__all__ = ["festival_days", "festival_effect", "festival_waves", "holiday_days", "is_open"]

_SPRING_FESTIVAL = "Chinese New Year (Spring Festival)"

_WAVES: dict[Festival, tuple[tuple[int, float], ...]] = {
    # (days from the festival, log demand); straight lines between them, nothing outside.
    "double_11": ((-22, 0), (-12, 0.15), (-10, 0.45), (-9, 0.1), (-3, -0.1), (-1, 0.1), (0, 1.1), (1, 0.3),
                  (2, -0.25), (8, -0.2), (16, 0)),
    "618": ((-19, 0), (-17, 0.4), (-16, 0.1), (-5, 0.0), (-1, 0.25), (0, 0.8), (1, 0.1), (2, -0.2), (7, -0.12),
            (13, 0)),
    "black_friday": ((-9, 0), (-5, 0.1), (-1, 0.3), (0, 0.8), (1, 0.5), (2, 0.4), (3, 0.6), (4, 0.0), (6, -0.12),
                     (11, 0)),
    "spring_festival": ((-30, 0), (-18, 0.3), (-9, 0.65), (-5, 0.35), (-2, -0.3), (0, -0.75), (3, -0.6), (6, -0.25),
                        (9, 0.05), (15, 0)),
}  # fmt: skip
_SPRING_TROUGH = 0.6
"""How much of the trough at the Spring Festival every category has, however little it is stocked up on."""
HOLIDAY_EFFECT = 0.12
"""Log demand of a public holiday, when people have time to shop."""


def festival_days(festival: Festival, first: int, last: int) -> list[date]:
    """Return on which day a festival falls in each of the years."""
    years = range(first, last + 1)
    match festival:
        case "double_11":
            return [date(year, 11, 11) for year in years]
        case "618":
            return [date(year, 6, 18) for year in years]
        case "black_friday":
            return [_black_friday(year) for year in years]
        case "spring_festival":
            found: dict[int, date] = {}
            for day in (day for day, name in holiday_days("CN", first, last) if _SPRING_FESTIVAL in name):
                found.setdefault(day.year, day)
            return list(found.values())


def festival_waves(settings: SimulatorSettings) -> Iterator[tuple[Festival, date]]:
    """Yield each festival whose wave may touch the world, with its day."""
    for festival in settings.festivals:
        for day in festival_days(festival, settings.start.year - 1, settings.end.year + 1):
            yield festival, day


def festival_effect(settings: SimulatorSettings) -> NDArray[np.float64]:
    """Return what the festivals add to the log demand of each day and category `[T, categories]`."""
    days = np.arange(settings.days)
    effect = np.zeros((settings.days, len(ASSORTMENT)))
    festive = np.array([kind.festive for kind in ASSORTMENT])
    stocked_up = np.array([kind.spring_festive for kind in ASSORTMENT])
    for festival, day in festival_waves(settings):
        at, height = zip(*_WAVES[festival], strict=True)
        wave = np.interp(days - (day - settings.start).days, at, height, left=0, right=0)[:, None]
        if festival == "spring_festival":
            effect += np.maximum(wave, 0) * stocked_up + np.minimum(wave, 0) * _SPRING_TROUGH
        else:
            effect += np.maximum(wave, 0) * festive + np.minimum(wave, 0)
    return effect


def holiday_days(country: str, first: int, last: int) -> list[tuple[date, str]]:
    """Return the public holidays of a country with their names, by day."""
    import holidays

    try:
        known = holidays.country_holidays(country, years=range(first, last + 1), language="en_US")
    except NotImplementedError as exc:
        msg = f"The library 'holidays' knows no country '{country}'; mend simulator.countries in the market's file."
        raise SourceError(msg) from exc
    return sorted(known.items())


def is_open(settings: SimulatorSettings) -> NDArray[np.bool_]:
    """Return on which days anything is sold `[T]`."""
    days = [settings.start + timedelta(days=day) for day in range(settings.days)]
    return np.array(
        [
            day.weekday() not in settings.closed_weekdays and f"{day:%m-%d}" not in settings.closed_holidays
            for day in days
        ]
    )


def _black_friday(year: int) -> date:
    """The day after the fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(3 - first.weekday()) % 7 + 22)
