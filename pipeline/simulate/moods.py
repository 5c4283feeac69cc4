"""What moves demand unseen or from afar: advertising, the economy, and how interesting items are to people.

Advertising follows the usual media-mix form: spending leaves a stock of attention that decays (adstock: Broadbent, S.:
One way TV advertisements work. Journal of the Market Research Society 21, 1979), and the stock's effect saturates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate.assortment import ASSORTMENT, Items
from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["MAX_LEAD_DAYS", "Moods", "make_moods"]

CAMPAIGNS_A_YEAR = 3.0
ADSTOCK_DECAY = 0.85
"""Share of yesterday's stock of attention that is left today."""
ADVERTISING_EFFECT = 0.45
"""Log demand that endless spending would add, for an item of response 1."""
INTEREST_DECAY = 0.94
INTEREST_STEP = 0.11
HYPES_A_YEAR = 0.5
HYPE = 0.9
MAX_LEAD_DAYS = 14
INTEREST_EFFECT = 0.8
"""Log demand for each unit of interest in the days before."""
CONFIDENCE_EFFECT = 0.012
"""Log demand for each point of consumer confidence."""


@dataclass(frozen=True)
class Moods:
    """Daily paths of what works on demand beside price and season."""

    spend: NDArray[np.float32]
    """Advertising budget of each item in money a day `[T, N]`."""
    advertising: NDArray[np.float32]
    """What it adds to log demand `[T, N]`."""
    interest: NDArray[np.float32]
    """How much people look at an item, as a log factor; begins `MAX_LEAD_DAYS` before the world `[14 + T, N]`."""
    confidence: NDArray[np.float64]
    """Index of consumer confidence, 100 in the long run `[T]`."""


def make_moods(settings: SimulatorSettings, items: Items) -> Moods:
    """Draw advertising budgets, interest and consumer confidence."""
    scale = items.list_price * np.exp(items.level)
    spend = _budgets(settings, scale, items.category)
    return Moods(
        spend=spend,
        advertising=_saturated(spend, scale, items.response),
        interest=_interest(settings),
        confidence=_confidence(settings),
    )


def _budgets(
    settings: SimulatorSettings, scale: NDArray[np.float64], category: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return budgets of campaigns for items and for categories, which share them out by usual turnover `[T, N]`."""
    draw = generator(settings.seed, Stream.ADVERTISING)
    spend = np.zeros((settings.days, settings.items), np.float32)
    a_world = CAMPAIGNS_A_YEAR * settings.days / 365.25
    advertised = draw.random(settings.items) < settings.advertised_share
    for item in np.repeat(np.arange(settings.items), draw.poisson(a_world * advertised)):
        start, length = int(draw.integers(0, settings.days)), int(draw.integers(10, 29))
        spend[start : start + length, item] += scale[item] * draw.uniform(0.15, 0.6)
    if settings.advertised_share > 0:
        for code in range(0, len(ASSORTMENT), 4):
            for _ in range(draw.poisson(a_world)):
                start, length = int(draw.integers(0, settings.days)), int(draw.integers(10, 29))
                chosen = category == code
                spend[start : start + length, chosen] += scale[chosen] * draw.uniform(0.08, 0.25)
    return spend.round(2)


def _saturated(
    spend: NDArray[np.float32], scale: NDArray[np.float64], response: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return effect = most x stock / (stock + half), where stock decays by a constant share a day `[T, N]`."""
    half = 0.3 * scale / (1 - ADSTOCK_DECAY)
    stock, effect = np.zeros(spend.shape[1]), np.empty_like(spend)
    for day, spent in enumerate(spend):
        stock = ADSTOCK_DECAY * stock + spent
        effect[day] = ADVERTISING_EFFECT * response * stock / (stock + half)
    return effect


def _interest(settings: SimulatorSettings) -> NDArray[np.float32]:
    """Return autocorrelated interest, with rare jumps when an item is talked about."""
    draw = generator(settings.seed, Stream.INTEREST)
    now = draw.normal(0, INTEREST_STEP / np.sqrt(1 - INTEREST_DECAY**2), settings.items)
    interest = np.empty((settings.days + MAX_LEAD_DAYS, settings.items), np.float32)
    for day in range(len(interest)):
        now = INTEREST_DECAY * now + draw.normal(0, INTEREST_STEP, settings.items)
        now += HYPE * (draw.random(settings.items) < HYPES_A_YEAR / 365.25)
        interest[day] = now
    return interest


def _confidence(settings: SimulatorSettings) -> NDArray[np.float64]:
    draw = generator(settings.seed, Stream.ECONOMY)
    now, index = 0.0, np.empty(settings.days)
    for day, step in enumerate(draw.normal(0, 0.45, settings.days)):
        now = 0.995 * now + step
        index[day] = 100 + now
    return index.round(1)
