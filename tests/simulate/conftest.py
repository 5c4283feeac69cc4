"""A tiny simulated market, as a YAML of its own."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

WORLD = {
    "seed": 3,
    "start": date(2022, 9, 1),
    "days": 200,
    "items": 30,
    "locations": 2,
    "regions": 2,
    "customers": 400,
    "orders_a_day": 60,
    "dirty_share": 0.01,
}

SimulatedMarket = Callable[..., Path]


@pytest.fixture
def simulated_market(tmp_path: Path) -> SimulatedMarket:
    """Return a function that writes a market of 30 items and gives its YAML's path; `world` changes the world."""

    def write(*, world: dict[str, Any] | None = None, grain: str = "lines", **changes: Any) -> Path:
        feeds = ("sales", "behaviour", "stock", "prices", "promotions", "catalogue", "market", "calendar")
        settings = {
            "name": "tiny_world",
            "title": "Tiny world",
            "history_start": WORLD["start"],
            "look_back_days": 16,
            "plan_ahead_days": 28,
            "horizon": 14,
            "simulator": WORLD | (world or {}),
            "feeds": {feed: {"source": "simulator", "grain": grain} for feed in feeds},
            "regions": {"north": ["store_1"], "south": ["store_2"]},
            "variables": {
                "temperature": {"known": "after"},
                "temperature_forecast": {"known": "ahead"},
                "rain_forecast": {"known": "ahead"},
                "advertising": {"known": "ahead", "fill": "zero"},
            },
            "gate": {"max_quarantined_share": 0.1, "max_age_days": 1},
            "candidates": {"seasonal_naive": {"model": "seasonal_naive"}},
        }
        file = tmp_path / "tiny_world.yaml"
        file.write_text(yaml.safe_dump(settings | changes, sort_keys=False), encoding="utf-8")
        return file

    return write
