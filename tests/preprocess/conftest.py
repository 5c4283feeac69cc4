"""A market whose facts are written straight into the lake, so that a test says exactly what was known, and when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.feeds import FEEDS, FeedName
from pipeline.preprocess import Panel
from pipeline.preprocess.build import build_panel
from pipeline.preprocess.facts import facts_of, versions_of

START = date(2021, 1, 4)
"""A Monday."""
AS_OF = date(2021, 7, 4)
"""A Sunday: 26 weeks later."""
ITEMS = ("cup", "pan", "pot")
LOCATIONS = ("north", "south")


@dataclass(frozen=True)
class World:
    """A market in a folder, into whose lake facts are put."""

    cycle: Cycle

    def put(self, feed: FeedName, rows: pd.DataFrame, known_on: date | None = None, *, learnt: date = START) -> None:
        """Add facts, as a collection would have committed them on the day `learnt`."""
        schema = FEEDS[feed].schema
        given = rows.reindex(columns=schema.names).astype(object)
        given = given.where(given.notna(), None)
        facts = pa.Table.from_pandas(
            given, pa.schema([column.with_nullable(nullable=True) for column in schema]), preserve_index=False
        )
        facts = facts.append_column("known_on", pa.repeat(pa.scalar(known_on or learnt, pa.date32()), len(rows)))
        facts = facts.append_column("deleted", pa.repeat(pa.scalar(value=False), len(rows)))
        self.cycle.lake.attempt(f"facts/{feed}", cycle=learnt).commit(facts)

    def panel(self) -> Panel:
        """Build the panel of the as-of day."""
        return build_panel(self.cycle, facts_of(self.cycle, versions_of(self.cycle)))


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Return a function that makes a world with sales at random days; `changes` are keys of the market's YAML."""
    return lambda **changes: make_world(tmp_path, **changes)


def make_world(folder: Path, *, sales: pd.DataFrame | None = None, **changes: Any) -> World:
    """Return a world of the feeds that `changes` name, or of sales alone."""
    settings = {
        "name": "world",
        "title": "World",
        "history_start": START,
        "horizon": 14 if changes.get("frequency", "D") == "D" else 4,
        "plan_ahead_days": 28,
        "series": {"top": 100, "trailing_days": 400},
        "candidates": {"naive": {"model": "seasonal_naive"}},
    } | changes
    feeds = settings.pop("feeds", ["sales"])
    settings["feeds"] = {feed: {"source": "files", "path": "nowhere.csv"} for feed in feeds}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "world.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    made = World(open_cycle(file, AS_OF, Home(folder / "home")))
    made.put("sales", random_sales() if sales is None else sales)
    return made


def random_sales(seed: int = 1) -> pd.DataFrame:
    """Return units of all series on some days of the history, none of them on Wednesdays."""
    draw = np.random.default_rng(seed)
    rows = [
        {"item": item, "location": location, "date": START + timedelta(days=day), "units": float(draw.integers(1, 9))}
        for item in ITEMS
        for location in LOCATIONS
        for day in range((AS_OF - START).days + 1)
        if draw.random() < 0.4 and day % 7 != 2
    ]
    return pd.DataFrame(rows)


def row_of(panel: Panel, name: str) -> int:
    """Return the position of a series."""
    return panel.unique_id.tolist().index(name)


def known(panel: Panel, name: str, series: str) -> np.ndarray:
    """Return a covariate of a series that is known ahead `[T + H]`."""
    return panel.known[row_of(panel, series), :, panel.known_names.index(name)]


def past(panel: Panel, name: str, series: str) -> np.ndarray:
    """Return a covariate of a series' past `[T]`."""
    return panel.past[row_of(panel, series), :, panel.past_names.index(name)]


def shared(panel: Panel, name: str) -> np.ndarray:
    """Return a covariate of the market `[T + H]`."""
    return panel.shared[:, panel.shared_names.index(name)]
