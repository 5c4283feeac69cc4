"""How far models look back, in periods: what suits days does not suit weeks."""

from dataclasses import dataclass

from pipeline.preprocess.panel import Panel

__all__ = ["Rhythm", "rhythm_of"]


@dataclass(frozen=True)
class Rhythm:
    """A frequency's season and windows, all counted in its periods."""

    season: int
    """After how many periods demand repeats."""
    level: int
    """Trailing periods of the level by which demand is divided."""
    means: tuple[int, ...]
    """Trailing windows whose mean demand is a feature."""
    decays: tuple[float, ...]
    """By how much a period counts less than the one after it, in the decayed means that are features."""
    medians: tuple[int, ...]
    """Trailing windows whose median demand is a feature."""
    newest: int
    """How many of the last periods are features one by one."""
    year: int
    """Periods after which the same time of the year comes again, in whole weeks."""
    around: int
    """How far before and after that period its surroundings reach."""
    recent: int
    """Trailing periods that spread and covariates are compared over."""
    seasons: tuple[int, ...]
    """How many past seasons' same period is averaged."""
    effect: int
    """Trailing periods from which the effect of a covariate is taken."""
    share: int
    """Trailing periods of an item's share of its group."""
    share_delay: int
    """How old the share is with which an item's past mean is reckoned."""
    warm_up: int
    """Periods of history that a training row has at least, where there are enough."""
    context: int
    """Periods that a network's encoder sees."""
    step: int
    """Periods that it reads at once."""


_DAILY = Rhythm(
    season=7,
    level=56,
    means=(7, 14, 28, 112, 364),
    decays=(0.8, 0.93, 0.98),
    medians=(28,),
    newest=5,
    year=364,
    around=3,
    recent=28,
    seasons=(4, 8),
    effect=182,
    share=56,
    share_delay=14,
    warm_up=28,
    context=56,
    step=7,
)
_WEEKLY = Rhythm(
    season=52,
    level=13,
    means=(4, 8, 26, 52),
    decays=(0.5, 0.8, 0.95),
    medians=(5, 13),
    newest=6,
    year=52,
    around=1,
    recent=8,
    seasons=(1, 2),
    effect=52,
    share=13,
    share_delay=2,
    warm_up=8,
    context=56,
    step=4,
)


def rhythm_of(panel: Panel) -> Rhythm:
    """Return the season and windows of a panel's frequency."""
    return _WEEKLY if panel.frequency == "W" else _DAILY
