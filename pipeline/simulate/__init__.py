"""The market simulator: a seeded world of any size, whose sources answer as of a day and whose truth is known.

`docs/simulator.md` writes the model out. Nothing but tests, benchmarks and `trendmill simulate` may read the truth.
"""

from pipeline.simulate.settings import SimulatorSettings
from pipeline.simulate.truth import Truth, truth

__all__ = ["SimulatorSettings", "Truth", "truth"]
