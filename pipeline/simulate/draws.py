"""Seeded randomness: a stream for each thing that is drawn, so that a day's draws never depend on another day's."""

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "generator"]


class Stream(IntEnum):
    """What is drawn; a value never changes, because the worlds made with it would change too."""

    ITEMS = 1
    WEATHER = 2
    FORECAST = 3
    ECONOMY = 4
    PRICES = 5
    PROMOTIONS = 6
    ADVERTISING = 7
    INTEREST = 8
    DEMAND = 9
    SUPPLY = 10
    ORDERS = 11
    BROWSING = 12
    DIRT = 13
    CUSTOMERS = 14
    LOCATIONS = 15


def generator(seed: int, stream: Stream, *parts: int) -> np.random.Generator:
    """Return the generator of a stream, or of a day or another part of it."""
    return np.random.default_rng([seed, int(stream), *parts])
