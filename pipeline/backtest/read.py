"""Committed backtests, read back."""

import numpy as np

from pipeline.cycle import Cycle
from pipeline.errors import StageError
from pipeline.models import QUANTILES
from pipeline.models.frame import RAW_COLUMNS
from pipeline.models.past import PastForecasts
from pipeline.preprocess import Panel

__all__ = ["past_forecasts"]


def past_forecasts(cycle: Cycle, candidate: str, panel: Panel) -> PastForecasts:
    """Return what a candidate's backtest says, before any calibration.

    Raises:
        StageError: if the candidate has no backtest in this cycle, or one of another panel.
    """
    held = cycle.lake.exists("backtests")
    rows = cycle.lake.read("backtests", cycle=cycle.as_of, candidate=candidate) if held else None
    if rows is None or rows.num_rows == 0:
        msg = f"The candidate '{candidate}' of {cycle.key} has no backtest; run 'trendmill backtest' for it first."
        raise StageError(msg)
    rows = rows.sort_by([(column, "ascending") for column in ("origin", "unique_id", "lead")])
    days = rows["origin"].unique().to_pylist()
    shape = (len(days), len(panel.unique_id), panel.horizon)
    if rows.num_rows != np.prod(shape) or set(rows["unique_id"].unique().to_pylist()) != set(panel.unique_id):
        msg = (
            f"The backtest of '{candidate}' of {cycle.key} is of another panel; run 'trendmill backtest' for it again."
        )
        raise StageError(msg)
    quantiles = np.stack([rows[name].to_numpy() for name in RAW_COLUMNS], axis=-1)
    return PastForecasts(
        origins=tuple(days),
        ends=np.array([panel.periods_until(day) for day in days]),
        y=rows["y"].to_numpy().astype(np.float32).reshape(shape),
        quantiles=quantiles.astype(np.float32).reshape(*shape, len(QUANTILES)),
        mean=rows["mean"].to_numpy().astype(np.float32).reshape(shape),
    )
