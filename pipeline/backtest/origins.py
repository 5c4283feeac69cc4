"""Which days a cycle's candidates are judged on."""

from datetime import date, timedelta

from pipeline.cycle import Cycle
from pipeline.errors import ConfigError

__all__ = ["MIN_HISTORY", "origins"]

MIN_HISTORY = {"D": 56, "W": 13}
"""Days or weeks of history that a candidate needs before the first origin, by frequency."""


def origins(cycle: Cycle) -> list[date]:
    """Return the origins of the backtest, earliest first; the last one lies one horizon before the as-of day.

    Raises:
        ConfigError: if the market's history is too short for them.
    """
    market, settings = cycle.market, cycle.market.backtest
    period, step = timedelta(days=market.period_days), timedelta(days=market.period_days * settings.step)
    last = cycle.as_of - market.horizon * period
    first = last - (settings.origins - 1) * step
    history = (first + timedelta(days=1) - market.history_start) // period
    needed = MIN_HISTORY[market.frequency]
    if history < needed:
        earliest = cycle.as_of + (needed - history) * period
        msg = (
            f"{cycle.key} has {max(history, 0)} {market.period_name}s of history before the backtest's first origin "
            f"and needs {needed}; give a date from {earliest} on, or fewer origins or a shorter horizon in its file."
        )
        raise ConfigError(msg)
    return [first + number * step for number in range(settings.origins)]
