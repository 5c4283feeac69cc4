"""Which days a cycle's candidates are judged on."""

from datetime import date, timedelta

from pipeline.cycle import Cycle
from pipeline.errors import ConfigError

__all__ = ["MIN_HISTORY_DAYS", "origins"]

MIN_HISTORY_DAYS = 56
"""History that a candidate needs before the first origin."""


def origins(cycle: Cycle) -> list[date]:
    """Return the origins of the backtest, earliest first; the last one lies one horizon before the as-of day.

    Raises:
        ConfigError: if the market's history is too short for them.
    """
    settings = cycle.market.backtest
    last = cycle.as_of - timedelta(days=cycle.market.horizon_days)
    first = last - timedelta(days=settings.step_days * (settings.origins - 1))
    history_days = (first - cycle.market.history_start).days + 1
    if history_days < MIN_HISTORY_DAYS:
        earliest = cycle.as_of + timedelta(days=MIN_HISTORY_DAYS - history_days)
        msg = (
            f"{cycle.key} has {max(history_days, 0)} days of history before the backtest's first origin and needs "
            f"{MIN_HISTORY_DAYS}; give a date from {earliest} on, or fewer origins or a shorter horizon in its file."
        )
        raise ConfigError(msg)
    return [first + timedelta(days=settings.step_days * number) for number in range(settings.origins)]
