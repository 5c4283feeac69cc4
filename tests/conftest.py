"""Fixtures that every test may use: a home of its own, and a small market that a night takes seconds for."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, settings

from pipeline.cycle import Cycle, Home, open_cycle

pytest_plugins = ["tests.databases", "tests.servers"]

# An example that takes long on a busy machine is no defect.
settings.register_profile("trendmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trendmill")

HISTORY_START = date(2021, 1, 4)
"""First day of the small market: a Monday."""
AS_OF = date(2021, 7, 11)
"""The day that tests forecast from."""
DATA_END = date(2021, 8, 8)
"""Last day that the small market's files cover: four weeks beyond `AS_OF`, which must not exist for a forecaster."""

MarketWriter = Callable[..., Path]

SERVERS = frozenset({"s3", "postgres_server", "start_postgres", "_spark"})
"""Fixtures that start a server: tests that use one are slow."""

SYSTEM = Path(__file__).with_name("system")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the nights on the engine, and keep tests with servers of their own out of the fast lane.

    The nights stay on one worker: another one that has nothing left to do takes over tests from the end.
    """
    items.sort(key=lambda item: SYSTEM not in item.path.parents)
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())) or any(
            parameter in {"s3", "postgres", "spark"}
            for parameter in getattr(getattr(item, "callspec", None), "params", {}).values()
            if isinstance(parameter, str)
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give each test a Trendmill home of its own."""
    # MLflow sets its variable in this process; commands that a test starts must not inherit it.
    for name in ("MLFLOW_TRACKING_URI", "TRENDMILL_MARKETS", "TRENDMILL_EXPECTATIONS", "TRENDMILL_LAKE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("TRENDMILL_HOME", str(folder))
    return Home(folder)


@pytest.fixture
def small_market(tmp_path: Path) -> MarketWriter:
    """Return a function that writes a market of 20 items over 31 weeks as files, and gives its YAML's path."""

    def write(folder: Path | None = None, **changes: Any) -> Path:
        return write_small_market(folder or tmp_path / "market", **changes)

    return write


@pytest.fixture
def small_cycle(small_market: MarketWriter, home: Home) -> Cycle:
    """Return the small market's cycle on `AS_OF`; nothing has run yet."""
    return open_cycle(small_market(), AS_OF, home)


def write_small_market(folder: Path, **changes: Any) -> Path:
    """Write the small market's files and YAML; `changes` replace keys of the YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _small_market_files().items():
        (folder / name).write_bytes(content)
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(small_market_settings() | changes, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture
def weekly_market(tmp_path: Path) -> MarketWriter:
    """Return a function that writes the small market as a weekly one, and gives its YAML's path."""

    def write(folder: Path | None = None, **changes: Any) -> Path:
        return write_weekly_market(folder or tmp_path / "weekly", **changes)

    return write


def write_weekly_market(folder: Path, **changes: Any) -> Path:
    """Write the small market's files and a YAML that forecasts them by the week; `changes` replace keys of it."""
    candidates: dict[str, dict[str, Any]] = dict(small_market_settings()["candidates"])
    del candidates["lstm"]
    weekly = {
        "name": "small_weekly",
        "frequency": "W",
        "horizon": 4,
        "plan_ahead_days": 28,
        "backtest": {"origins": 2, "step": 1},
        "candidates": candidates,
    }
    return write_small_market(folder, **weekly | changes)


def small_market_settings() -> dict[str, Any]:
    """Return the small market's YAML as a dictionary."""
    return {
        "name": "small",
        "title": "Small shop",
        "timezone": "Europe/London",
        "history_start": HISTORY_START,
        "look_back_days": 7,
        "plan_ahead_days": 21,
        "horizon": 14,
        "feeds": {
            "sales": {
                "source": "files",
                "path": "sales.csv",
                "columns": {"item": "sku", "order_id": "invoice", "customer": "client"},
            },
            "prices": {"source": "files", "path": "prices.parquet"},
            "promotions": {"source": "files", "path": "promotions.parquet"},
            "catalogue": {"source": "files", "path": "catalogue.parquet"},
            "calendar": {"source": "holidays", "country": "GB"},
        },
        "series": {"top": 20, "trailing_days": 91, "levels": ["department", "category"]},
        "backtest": {"origins": 2, "step": 7},
        "candidates": {
            "seasonal_naive": {"model": "seasonal_naive"},
            "category_sarimax": {"model": "category_sarimax"},
            "lightgbm": {"model": "lightgbm", "trees": 20},
            "lstm": {
                "model": "lstm",
                "units": 8,
                "context_periods": 28,
                "epochs": 2,
                "steps_per_epoch": 5,
                "batch_size": 32,
            },
        },
        "schedule": {"at": "05:00", "retries": 2, "retry_delay_seconds": 1},
    }


@cache
def _small_market_files() -> dict[str, bytes]:
    """Return the small market's data files by name, made once a process: hundreds of tests write them."""
    frames = small_market_frames()
    packed = {f"{feed}.parquet": frames[feed].to_parquet(index=False) for feed in ("prices", "promotions", "catalogue")}
    return packed | {"sales.csv": frames["sales"].to_csv(index=False).encode()}


@cache
def small_market_frames() -> dict[str, pd.DataFrame]:
    """Return the small market's feeds: order lines with a weekly rhythm, promotions that lift, two bad lines."""
    draw = np.random.default_rng(7)
    days = pd.date_range(HISTORY_START, DATA_END)
    items = [f"SKU{number:02d}" for number in range(20)]
    starts = [day for day in days if day.weekday() == 0]
    promoted = {(item, start) for item in items for start in starts if draw.random() < 0.15}
    lines, prices = [], []
    for number, item in enumerate(items):
        base = 2 + number / 3
        for day in days:
            week = day - timedelta(days=day.weekday())
            on_offer = (item, week) in promoted
            price = round((3 + number / 10) * (0.8 if on_offer else 1), 2)
            prices.append({"item": item, "date": day, "list_price": round(3 + number / 10, 2), "price": price})
            rate = base * (1.6 if day.weekday() >= 5 else 1) * (1.8 if on_offer else 1)
            for order in range(draw.poisson(rate / 2)):
                units = int(draw.integers(1, 4))
                lines.append(
                    {
                        "invoice": f"{item}-{day:%m%d}-{order}",
                        "sku": item,
                        "date": day.date(),
                        "units": units,
                        "revenue": round(units * price, 2),
                        "client": f"person-{draw.integers(1, 40)}@example.com",
                    }
                )
    sales = pd.DataFrame(lines)
    sales.loc[sales.index[5], "units"] = 0
    sales.loc[sales.index[9], "units"] = 50_000
    sales = pd.concat([sales, sales.iloc[[20]]], ignore_index=True)
    return {
        "sales": sales,
        "prices": pd.DataFrame(prices).assign(date=lambda frame: frame["date"].dt.date),
        "promotions": pd.DataFrame(
            {
                "item": item,
                "start": start.date(),
                "end": (start + timedelta(days=6)).date(),
                "kind": "display",
                "depth": 0.5,
            }
            for item, start in sorted(promoted)
        ),
        "catalogue": pd.DataFrame(
            {
                "item": item,
                "title": f"Thing number {number}",
                "department": "Home" if number < 10 else "Garden",
                "category": f"Category {number // 5}",
                "brand": "Own",
            }
            for number, item in enumerate(items)
        ),
    }
