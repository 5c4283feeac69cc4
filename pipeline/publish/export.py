"""Exports of a published vintage to a file that anyone can open."""

import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.cycle import Home
from pipeline.errors import ConfigError, StageError
from pipeline.lake import Lake
from pipeline.market import Market
from pipeline.models.frame import QUANTILE_COLUMNS

__all__ = ["export_forecasts"]

_COLUMNS = ["unique_id", "ds", "origin", "lead", "mean", *QUANTILE_COLUMNS]


def export_forecasts(market: Market, home: Home, vintage: date | None, out: Path) -> tuple[date, int]:
    """Write a vintage (the newest without one) as CSV or Parquet, by the file's ending; all of it or nothing.

    Returns:
        The vintage's as-of day and its number of rows.

    Raises:
        ConfigError: if the file's ending is neither `.csv` nor `.parquet`, or it cannot be written.
        StageError: if there is no such vintage.
    """
    if out.suffix.lower() not in {".csv", ".parquet"}:
        msg = f"'{out}' must end in .csv or .parquet, so that its format is known."
        raise ConfigError(msg)
    lake = home.lake_of(market.name)
    published = _vintages(lake)
    day = vintage or max(published, default=None)
    if day is None or day not in published:
        which = f"of {vintage} " if vintage else ""
        held = ", ".join(map(str, sorted(published)[-5:])) or "none"
        msg = f"'{market.name}' has no published forecasts {which}in {home.path} (vintages there: {held}); run a cycle."
        raise StageError(msg)
    rows = lake.read("forecasts", cycle=day).select(_COLUMNS).sort_by([("unique_id", "ascending"), ("ds", "ascending")])
    _write(rows, out)
    return day, rows.num_rows


def _vintages(lake: Lake) -> set[date]:
    if not lake.exists("forecasts"):
        return set()
    return set(lake.query("SELECT DISTINCT cycle FROM forecasts", ["forecasts"])["cycle"].to_pylist())


def _write(rows: pa.Table, out: Path) -> None:
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if out.suffix.lower() == ".csv":
            pa.csv.write_csv(rows, scratch)
        else:
            pq.write_table(rows, scratch, compression="zstd")
        scratch.replace(out)
    except OSError as exc:
        msg = f"'{out}' cannot be written ({exc.strerror}); give a file in a folder that exists and has room."
        raise ConfigError(msg) from exc
    finally:
        scratch.unlink(missing_ok=True)
