"""What a series' history says on each origin, free of its scale."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.models.levels import Levels
from pipeline.models.rhythm import Rhythm, rhythm_of
from pipeline.models.tabular.groups import Groups
from pipeline.models.tabular.regression import PlanRegression
from pipeline.models.tabular.rolling import (
    decayed_mean,
    delayed,
    trailing_mean,
    trailing_median,
    trailing_sum,
)
from pipeline.preprocess.panel import Panel

__all__ = ["history", "levels_of"]

_LEAST_ORDERS = 0.05
_RESIDUAL_WINDOWS = (2, 4, 8, 26)
_NEWEST_RESIDUALS = 3
_ORDERS = "orders"
"""The covariate of the past that counts orders: with it, their number and their size are told apart."""

Column = NDArray[np.floating]


def levels_of(panel: Panel, levels: Levels) -> NDArray[np.float64]:
    """Return each series' level on each origin: what demand is divided by `[S, T]`."""
    window = rhythm_of(panel).level
    units = trailing_sum(np.where(panel.observed, panel.y, 0), window)
    return Levels.shrunk(units, trailing_sum(panel.observed, window), levels.prior(panel)[:, None])


def history(
    panel: Panel, level: NDArray[np.float64], groups: Groups, regression: PlanRegression | None
) -> dict[str, Column]:
    """Return the features of each series' origins by name, each `[S, T]`.

    Args:
        panel: the history.
        level: each series' level on each origin `[S, T]`.
        groups: the panel's groups of series.
        regression: of demand on what is known ahead, where it suits.
    """
    rhythm = rhythm_of(panel)
    columns: dict[str, Column] = {"log_level": np.log(level)}
    columns |= dict(_demand(panel, level, rhythm))
    columns |= dict(_trend(panel, groups, rhythm))
    columns |= dict(_past(panel, level, rhythm))
    if regression is not None:
        columns |= dict(_residuals(panel, groups, regression))
    return columns


def _demand(panel: Panel, level: NDArray[np.float64], rhythm: Rhythm) -> Iterator[tuple[str, Column]]:
    y, seen = panel.y.astype(np.float64), panel.observed
    mean = trailing_mean(y, seen, rhythm.level)
    square = trailing_mean(y**2, seen, rhythm.level)
    for window in rhythm.means:
        yield f"mean_{window}", trailing_mean(y, seen, window) / level
    for decay in rhythm.decays:
        yield f"decayed_{decay}", decayed_mean(y, seen, decay) / level
    yield "decayed_root", decayed_mean(np.sqrt(y), seen, rhythm.decays[-1]) ** 2 / level
    for window in rhythm.medians:
        yield f"median_{window}", trailing_median(y, seen, window) / level
    yield "deviation", np.sqrt(np.maximum(square - mean**2, 0)) / level
    yield "sold_share", trailing_mean((y > 0) * 1.0, seen, rhythm.level)
    yield "age", np.cumsum(seen, axis=1, dtype=np.float64)
    newest_sale = _newest_sale(y, seen)
    yield "since_sale", (np.arange(y.shape[1]) - newest_sale).astype(np.float64)
    size = np.take_along_axis(y, np.maximum(newest_sale, 0), axis=1)
    yield "last_sale", np.where(newest_sale >= 0, size, np.nan) / level
    observed = np.where(seen, y, np.nan)
    for back in range(rhythm.newest):
        yield f"newest_{back}", delayed(observed, back) / level
    yield "on_year", _on_year(np.where(seen, y, 0), rhythm)


def _newest_sale(y: Column, seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the position of the last period with a sale, that before the history where there was none `[S, T]`."""
    period = np.where((y > 0) & seen, np.arange(y.shape[1]), -1)
    return np.maximum.accumulate(period, axis=1)


def _on_year(units: Column, rhythm: Rhythm) -> Column:
    """Return the logarithm of demand over the recent window, over that of the year before `[..., T]`."""
    recent = trailing_sum(units, rhythm.recent)
    return np.log((recent + 1) / (delayed(recent, rhythm.year) + 1))


def _trend(panel: Panel, groups: Groups, rhythm: Rhythm) -> Iterator[tuple[str, Column]]:
    """Yield how the demand of all series and of each group moves: lately, and on the year."""
    units = np.where(panel.observed, panel.y, 0).astype(np.float64)
    total = units.sum(axis=0, keepdims=True)
    yield "market:recent", np.broadcast_to(_lately(total, rhythm), units.shape)
    yield "market:on_year", np.broadcast_to(_on_year(total, rhythm), units.shape)
    for number, name in enumerate(groups.names):
        sums, code = groups.sums(units, number), groups.codes[number]
        yield f"group:{name}:recent", _lately(sums, rhythm)[code]
        yield f"group:{name}:on_year", _on_year(sums, rhythm)[code]


def _lately(units: Column, rhythm: Rhythm) -> Column:
    short, long = rhythm.means[0], rhythm.level
    return (trailing_sum(units, short) / short) / np.maximum(trailing_sum(units, long) / long, _LEAST_ORDERS)


def _past(panel: Panel, level: NDArray[np.float64], rhythm: Rhythm) -> Iterator[tuple[str, Column]]:
    for position, name in enumerate(panel.past_names):
        value = panel.past[..., position].astype(np.float64)
        everywhere = np.ones(value.shape, bool)
        usual = trailing_mean(value, everywhere, rhythm.level)
        yield f"past:{name}", value
        yield f"past:{name}:usual", usual
        yield f"past:{name}:rise", trailing_mean(value, everywhere, rhythm.means[0]) - usual
        if name == _ORDERS:
            yield from _orders(panel, np.expm1(value), level, rhythm)


def _orders(panel: Panel, orders: Column, level: NDArray[np.float64], rhythm: Rhythm) -> Iterator[tuple[str, Column]]:
    """Yield how many orders there are and how large they are: the median of their size forgets a single large one."""
    seen = panel.observed
    usual = np.nan_to_num(trailing_mean(orders, seen, rhythm.level))
    size = panel.y / np.maximum(orders, 1)
    typical = trailing_median(size, seen & (orders > 0), rhythm.level)
    yield "orders:size", np.log((level + _LEAST_ORDERS) / (usual + _LEAST_ORDERS))
    yield "orders:typical_size", np.log(np.maximum(typical, _LEAST_ORDERS))
    yield "orders:level", usual * typical / level
    for decay in rhythm.decays[:2]:
        yield f"orders:decayed_{decay}", decayed_mean(orders, seen, decay) / np.maximum(usual, _LEAST_ORDERS)


def _residuals(panel: Panel, groups: Groups, regression: PlanRegression) -> Iterator[tuple[str, Column]]:
    """Yield how demand was beyond what plans made one expect: of the series, and of its item and location."""
    residual, seen = regression.residual, np.isfinite(regression.residual)
    for window in _RESIDUAL_WINDOWS:
        yield f"residual:mean_{window}", trailing_mean(residual, seen, window)
    square = trailing_mean(residual**2, seen, _RESIDUAL_WINDOWS[-1])
    yield "residual:deviation", np.sqrt(square)
    for back in range(_NEWEST_RESIDUALS):
        yield f"residual:newest_{back}", delayed(residual, back)
    for number in groups.own:
        name, code = groups.names[number], groups.codes[number]
        total, count = groups.sums(np.where(seen, residual, 0), number), groups.sums(seen.astype(np.float64), number)
        for window in (1, 4):
            mean = trailing_sum(total, window) / np.maximum(trailing_sum(count, window), 1)
            yield f"residual:{name}:mean_{window}", mean[code]
    for position, name in enumerate(panel.known_names):
        yield f"slope:{name}", regression.slopes[:, regression.grid, position]
