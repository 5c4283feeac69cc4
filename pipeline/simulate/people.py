"""The shop's customers: how busy each is, and how each is called.

Purchase rates are gamma-distributed over customers, so that purchases a customer are negative binomial (the NBD model:
Ehrenberg, A. S. C.: The pattern of consumer purchases. Applied Statistics 8, 1959).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.simulate.draws import Stream, generator
from pipeline.simulate.settings import SimulatorSettings

__all__ = ["People", "make_people"]

BUSYNESS_SHAPE = 0.7
_MIXER, _MASK = 2_654_435_761, 999_999_999


@dataclass(frozen=True)
class People:
    """Customers by location: each location has as many of its own."""

    names: pa.Array
    """Personal ids such as `C048213377`, all locations after each other."""
    reach: NDArray[np.float64]
    """Cumulated share of the orders of a location's customers."""

    def draw(self, draw: np.random.Generator, location: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a customer for each location, as a position in `names`."""
        within = np.searchsorted(self.reach, draw.random(len(location)), side="right")
        return location * len(self.reach) + np.minimum(within, len(self.reach) - 1)


def make_people(settings: SimulatorSettings) -> People:
    """Draw how busy customers are, and name them."""
    each = settings.customers // settings.locations
    busyness = generator(settings.seed, Stream.CUSTOMERS).gamma(BUSYNESS_SHAPE, 1, each)
    number = (np.arange(each * settings.locations, dtype=np.int64) * _MIXER + settings.seed) % _MASK
    names = pa.array([f"C{one:09d}" for one in number.tolist()], pa.string())
    return People(names, np.cumsum(busyness) / busyness.sum())
