"""The pipeline's own answer to a task, through its front doors: `python benchmarks/recipe.py TASK FOLDER`.

Reads the market `benchmarks/markets/TASK.yaml`, of which it keeps the task's items, and runs two cycles. At the first
origin all candidates are judged and trained; on the last one only the panel is built, and from it the trained
candidates forecast each origin, seeing what has come meanwhile. Leaves `recipe/CANDIDATE.parquet` in the folder, one a
candidate.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tasks import TASKS, Task, shared_data

from pipeline import backtest, collect, preprocess, tracking, train, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.models.frame import QUANTILE_COLUMNS, long_frame

MARKETS = Path(__file__).resolve().parent / "markets"


def main(task: Task, folder: Path) -> None:
    """Forecast every origin with every candidate of the task's market."""
    os.environ["TRENDMILL_SHARED_DATA"] = str(shared_data())
    with tempfile.TemporaryDirectory() as scratch:
        market = market_file(task, folder, Path(scratch))
        home = Home(Path(scratch) / "home")
        first, last = (open_cycle(market, origin, home) for origin in (task.origins[0], task.origins[-1]))
        fit(first)
        prepare(last)
        answers = folder / "recipe"
        answers.mkdir()
        for candidate in first.market.candidates_in_order:
            pq.write_table(forecasts(task, first, last, candidate), answers / f"{candidate}.parquet")


def market_file(task: Task, folder: Path, scratch: Path) -> Path:
    """Write the task's market, its feeds cut down to the task's items, and return its file."""
    market = yaml.safe_load((MARKETS / f"{task.name}.yaml").read_text(encoding="utf-8"))
    if task.top is not None:
        history = pq.read_table(folder / str(task.origins[0]) / "history.parquet", columns=["unique_id"])
        items = sorted({name.partition("/")[0] for name in history["unique_id"].unique().to_pylist()})
        for feed in market["feeds"].values():
            keep_items(feed, items)
    file = scratch / f"{task.name}.yaml"
    file.write_text(yaml.safe_dump(market, width=10_000, sort_keys=False), encoding="utf-8")
    return file


def keep_items(feed: dict[str, Any], items: list[str]) -> None:
    """Let a feed's query deliver some items only."""
    listed = ", ".join(f"'{item}'" for item in items)
    feed["query"] = f"SELECT * FROM ({feed['query']}) WHERE item IN ({listed})"  # noqa: S608 - codes of products


def prepare(cycle: Cycle) -> None:
    """Take in what a cycle may know, and build its panel."""
    for feed in cycle.market.feeds:
        print(collect.run(cycle, feed).summary())
        print(validate.run(cycle, feed).summary())
    print(preprocess.run(cycle).summary())


def fit(cycle: Cycle) -> None:
    """Judge and train a cycle's candidates."""
    prepare(cycle)
    tracking.begin(cycle)
    for candidate in cycle.market.candidates_in_order:
        print(backtest.run(cycle, candidate).summary())
        print(train.run(cycle, candidate).summary())
    tracking.close(cycle, succeeded=True)


def forecasts(task: Task, trained: Cycle, seen: Cycle, candidate: str) -> pa.Table:
    """Return what a candidate of one cycle says at each origin, given the panel of another."""
    forecaster = tracking.load_candidate(trained, candidate)
    panel, _ = preprocess.load_panel(seen)
    frames = [long_frame(forecaster.predict(panel, origin, task.horizon)) for origin in task.origins]
    return pa.concat_tables(frames).select(["unique_id", "origin", "ds", *QUANTILE_COLUMNS])


if __name__ == "__main__":
    main(TASKS[sys.argv[1]], Path(sys.argv[2]))
