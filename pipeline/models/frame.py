"""A forecast as a long table, in the Nixtla convention: one row a series and period."""

import numpy as np
import pyarrow as pa

from pipeline.models.base import QUANTILES, Forecast

__all__ = ["QUANTILE_COLUMNS", "RAW_COLUMNS", "long_frame"]

QUANTILE_COLUMNS = tuple(f"q{level}" for level in QUANTILES)
"""`q0.1 ... q0.9`"""
RAW_COLUMNS = tuple(f"raw{level}" for level in QUANTILES)
"""`raw0.1 ... raw0.9`: the quantiles before calibration."""


def long_frame(forecast: Forecast) -> pa.Table:
    """Return `unique_id, ds, origin, lead, mean, q0.1 ... q0.9`, sorted by series and period.

    `ds` is the first day of the period, a week's Monday; `lead` counts periods from the origin.
    """
    n_series, horizon = forecast.mean.shape
    leads = np.tile(np.arange(1, horizon + 1, dtype=np.int32), n_series)
    columns = {
        "unique_id": pa.array(np.repeat(forecast.unique_id, horizon)),
        "ds": pa.array(np.tile(forecast.days, n_series), pa.date32()),
        "origin": pa.array([forecast.origin] * len(leads), pa.date32()),
        "lead": pa.array(leads),
        "mean": pa.array(forecast.mean.reshape(-1)),
    }
    for position, name in enumerate(QUANTILE_COLUMNS):
        columns[name] = pa.array(forecast.quantiles[:, :, position].reshape(-1))
    return pa.table(columns)
