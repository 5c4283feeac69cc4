"""Weather by region, and the forecasts of it: a daily generator after Richardson (1981).

Temperature is a yearly wave with autocorrelated departures that regions share in part. Rain is a two-state Markov chain
of wet and dry days with gamma amounts (Richardson, C. W.: Stochastic simulation of daily precipitation, temperature,
and solar radiation. Water Resources Research 17, 1981).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["Weather", "day_of_year", "make_weather"]

PERSISTENCE = 0.8
DEPARTURE_DEGREES = 3.5
WET_AFTER_WET, WET_AFTER_DRY = 0.55, 0.22
RAIN_SHAPE, RAIN_SCALE_MM = 0.8, 9.0
MEAN_RAIN_MM = RAIN_SHAPE * RAIN_SCALE_MM * WET_AFTER_DRY / (1 - WET_AFTER_WET + WET_AFTER_DRY)
SKILL_DAYS = 8.0
"""After this many days a forecast keeps a third of what it could tell beyond the season's norm."""


@dataclass(frozen=True)
class Weather:
    """What the weather was `[T, R]`, and how each day had been forecast `[T, F, R]`, by days ahead from 1."""

    norm: NDArray[np.float64]
    """Temperature that the season lets expect."""
    temperature: NDArray[np.float64]
    rain: NDArray[np.float64]
    temperature_forecast: NDArray[np.float64]
    rain_forecast: NDArray[np.float64]


def make_weather(settings: SimulatorSettings) -> Weather:
    """Draw the weather of all regions, day after day."""
    draw = generator(settings.seed, Stream.WEATHER)
    days, regions = settings.days, settings.regions
    mean = np.linspace(9, 20, regions) if regions > 1 else np.array([14.0])
    swing = np.linspace(15, 8, regions) if regions > 1 else np.array([11.0])
    wave = np.cos(2 * np.pi * (day_of_year(settings) - 203) / 365.25)
    norm = mean + swing * wave[:, None]
    shocks = 0.75 * draw.normal(size=(days, 1)) + 0.66 * draw.normal(size=(days, regions))
    chance, amount = draw.random((days, regions)), draw.gamma(RAIN_SHAPE, RAIN_SCALE_MM, (days, regions))
    departure, wet = np.zeros((days, regions)), np.zeros((days, regions), bool)
    for day in range(1, days):
        fresh = DEPARTURE_DEGREES * np.sqrt(1 - PERSISTENCE**2) * shocks[day]
        departure[day] = PERSISTENCE * departure[day - 1] + fresh
        wet[day] = chance[day] < np.where(wet[day - 1], WET_AFTER_WET, WET_AFTER_DRY)
    rain = np.where(wet, amount, 0).round(1)
    temperature = (norm + departure).round(1)
    warm, wet_ahead = _forecasts(settings, norm, temperature, rain)
    return Weather(norm, temperature, rain, warm, wet_ahead)


def day_of_year(settings: SimulatorSettings) -> NDArray[np.float64]:
    """Return the day of the year of each of the world's days `[T]`, from 1."""
    days = np.datetime64(settings.start, "D") + np.arange(settings.days)
    return (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64) + 1


def _forecasts(
    settings: SimulatorSettings, norm: NDArray[np.float64], temperature: NDArray[np.float64], rain: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return forecasts whose errors add up with the days ahead, while they draw back to the norm `[T, F, R]`."""
    draw = generator(settings.seed, Stream.FORECAST)
    shape = (settings.days, settings.forecast_days, settings.regions)
    skill = np.exp(-np.arange(settings.forecast_days) / SKILL_DAYS)[:, None]
    error = np.cumsum(draw.normal(0, 0.9, shape), axis=1)
    warm = norm[:, None] + skill * ((temperature - norm)[:, None] + error)
    smudge = np.exp(np.cumsum(draw.normal(0, 0.25, shape), axis=1))
    wet = MEAN_RAIN_MM + skill * (rain[:, None] * np.minimum(smudge, 3) - MEAN_RAIN_MM)
    return warm.round(1), np.maximum(wet, 0).round(1)
