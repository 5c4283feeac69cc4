"""How good the forecasts are, beside what a user would pick instead: `.venv/bin/python benchmarks/accuracy.py`.

Lets the default recipe and its peers forecast three open tasks, each contender in a process of its own, and prints
weighted quantile loss, WAPE, MASE, RMSSE, coverage of the 80 % interval, seconds and peak memory, with the recipe's
loss as a ratio to that of the best peer. `--write` keeps the table in `benchmarks/results/accuracy.md`.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from measure import measured
from peers import PEERS
from rich.console import Console
from rich.table import Table
from tasks import LEVELS, TASKS, Task, Window

from pipeline.evaluate.metrics import coverage, mase, rmsse, wape, weighted_quantile_loss
from pipeline.market import load_market

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
RESULTS = HERE / "results" / "accuracy.md"
QUANTILES = [f"q{level}" for level in LEVELS]
RECIPE = "trendmill"
"""What the pipeline's default recipe is called beside its peers."""
FREQUENCIES = {"D": "D", "W": "W-MON"}
"""pandas' words."""
HEADINGS = ("WQL", "WAPE", "MASE", "RMSSE", "80 % coverage", "seconds", "peak MB")

console = Console(width=120)


@dataclass(frozen=True)
class Scores:
    """How a contender did, averaged over the windows."""

    wql: float
    wape: float
    mase: float
    rmsse: float
    coverage_80: float


@dataclass(frozen=True)
class Entry:
    """A contender's line in the table."""

    contender: str
    scores: Scores | None
    """None where it did not finish."""
    seconds: float | None = None
    """None for single candidates of the recipe, which cost no process of their own."""
    peak_megabytes: float | None = None
    packages: Mapping[str, str] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Return what the table says of it."""
        took = "" if self.seconds is None else f"{self.seconds:.0f}"
        memory = "" if self.peak_megabytes is None else f"{self.peak_megabytes:.0f}"
        if self.scores is None:
            return [self.contender, "not finished", "", "", "", "", took, memory]
        found = (self.scores.wql, self.scores.wape, self.scores.mase, self.scores.rmsse)
        return [self.contender, *(f"{one:.3f}" for one in found), f"{self.scores.coverage_80:.1%}", took, memory]


def main(
    tasks: Annotated[str, typer.Option(help="Names of tasks, with commas.")] = ",".join(TASKS),
    peers: Annotated[str, typer.Option(help="Names of peers, with commas; '' for none.")] = ",".join(PEERS),
    minutes: Annotated[int, typer.Option(help="A peer is ended that needs longer for one task.")] = 15,
    peers_python: Annotated[Path, typer.Option(help="Python with requirements-peers.txt.")] = PROJECT
    / ".venv-peers/bin/python",
    autogluon_python: Annotated[Path, typer.Option(help="Python with requirements-autogluon.txt.")] = PROJECT
    / ".venv-autogluon/bin/python",
    *,
    write: Annotated[bool, typer.Option("--write", help=f"Keep the table in {RESULTS.relative_to(PROJECT)}.")] = False,
) -> None:
    """Measure the default recipe and its peers."""
    chosen = [TASKS[name] for name in picked(tasks, TASKS, "tasks")]
    pythons = {
        name: autogluon_python if name == "autogluon" else peers_python for name in picked(peers, PEERS, "peers")
    }
    for name, python in pythons.items():
        refuse_without(python, name)
    results = {}
    for task in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            results[task] = list(contest(task, pythons, minutes, Path(scratch)))
        show(task, results[task])
    if write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(document(results), encoding="utf-8")


def picked(names: str, known: Sequence[str] | Mapping[str, Any], what: str) -> list[str]:
    """Return the names in a text, or end with a sentence on the first that is unknown."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found:
        if name not in known:
            sys.exit(f"There is no '{name}' among the {what}; choose from {', '.join(known)}.")
    return found


def refuse_without(python: Path, peer: str) -> None:
    """End with a sentence if a peer's environment is missing."""
    if python.exists():
        return
    kind = "autogluon" if peer == "autogluon" else "peers"
    sys.exit(
        f"The peer '{peer}' needs an environment of its own, but {python} is not there; make it with "
        f"'.venv-tools/uv/bin/uv venv .venv-{kind}' and '.venv-tools/uv/bin/uv pip install --compile-bytecode "
        f"--python .venv-{kind} -r benchmarks/requirements-{kind}.txt', or leave the peer out of --peers."
    )


def contest(task: Task, pythons: Mapping[str, Path], minutes: int, folder: Path) -> list[Entry]:
    """Return how the recipe, its single candidates and the peers do on a task."""
    windows = task.windows(task.frame())
    ask(task, windows, folder, minutes)
    entries = recipe(task, windows, folder)
    for peer, python in pythons.items():
        entries.append(answer(peer, python, windows, task, folder))
    return entries


def ask(task: Task, windows: Sequence[Window], folder: Path, minutes: int) -> None:
    """Write down what a contender may know: nothing of what came."""
    question = {
        "frequency": FREQUENCIES[task.frequency],
        "horizon": task.horizon,
        "season": task.season,
        "known": task.known,
        "past": task.past,
        "static": task.static,
        "limit_seconds": minutes * 60,
        "origins": [str(window.origin) for window in windows],
    }
    (folder / "task.json").write_text(json.dumps(question), encoding="utf-8")
    for window in windows:
        place = folder / str(window.origin)
        place.mkdir()
        window.history.to_parquet(place / "history.parquet")
        window.future.to_parquet(place / "future.parquet")


def recipe(task: Task, windows: Sequence[Window], folder: Path) -> list[Entry]:
    """Return how the market's default recipe does, and below it each of its single candidates."""
    console.print(f"{task.title}: {RECIPE} ...")
    cost = measured([sys.executable, str(HERE / "recipe.py"), task.name, str(folder)], {"PYTHONPATH": str(PROJECT)})
    *single, default = load_market(HERE / "markets" / f"{task.name}.yaml").candidates_in_order
    found = {
        name: scored(task, windows, pd.read_parquet(folder / "recipe" / f"{name}.parquet"), name)
        for name in (*single, default)
    }
    packages = {"trendmill": version("trendmill")}
    first = Entry(RECIPE, found[default], cost.seconds, cost.peak_megabytes, packages)
    return [first, *(Entry(f"  {name} alone", found[name]) for name in single)]


def answer(peer: str, python: Path, windows: Sequence[Window], task: Task, folder: Path) -> Entry:
    """Return how a peer does on a task."""
    console.print(f"{task.title}: {peer} ...")
    cost = measured([str(python), str(HERE / "peers.py"), peer, str(folder)])
    said = json.loads((folder / f"{peer}.json").read_text(encoding="utf-8"))
    finished = not said.get("unfinished", False)
    scores = scored(task, windows, pd.read_parquet(folder / f"{peer}.parquet"), peer) if finished else None
    return Entry(peer, scores, cost.seconds, cost.peak_megabytes, said["packages"])


def scored(task: Task, windows: Sequence[Window], forecasts: pd.DataFrame, contender: str) -> Scores:
    """Return a contender's scores, each worked out for every window and then averaged; its point is the median."""
    said = forecasts.assign(origin=forecasts["origin"].astype(str), ds=pd.to_datetime(forecasts["ds"]))
    found = [window_scores(task, window, said[said["origin"] == str(window.origin)], contender) for window in windows]
    return Scores(*np.mean(found, axis=0))


def window_scores(task: Task, window: Window, said: pd.DataFrame, contender: str) -> list[float]:
    """Return the scores of one window."""
    beside = window.actual.merge(said, on=["unique_id", "ds"], how="left").merge(
        scales(task, window), on="unique_id", how="left"
    )
    missing = int(beside[QUANTILES].isna().any(axis=1).sum())
    if missing:
        sys.exit(
            f"{contender} leaves {missing} of {len(beside)} values of '{task.name}' after {window.origin} without a "
            f"forecast; every series needs one for each period of the horizon."
        )
    y, quantiles = beside["y"].to_numpy(), beside[QUANTILES].to_numpy()
    median = beside["q0.5"].to_numpy()
    return [
        weighted_quantile_loss(y, quantiles, LEVELS),
        wape(y, median),
        mase(y, median, beside["absolute"].fillna(0).to_numpy()),
        rmsse(y, median, beside["squared"].fillna(0).to_numpy()),
        coverage(y, quantiles[:, 0], quantiles[:, -1]),
    ]


def scales(task: Task, window: Window) -> pd.DataFrame:
    """Return each series' mean absolute and mean squared seasonal difference in the window's history."""
    history = window.history[["unique_id", "ds", "y"]]
    before = history.assign(ds=history["ds"] + task.season * task.period)
    both = history.merge(before, on=["unique_id", "ds"], suffixes=("", "_before"))
    change = both["y"] - both["y_before"]
    return (
        pd.DataFrame({"unique_id": both["unique_id"], "absolute": change.abs(), "squared": change**2})
        .groupby("unique_id", as_index=False)
        .mean()
    )


def ratio(entries: Sequence[Entry]) -> str:
    """Return in a sentence how the recipe compares with the best peer."""
    peers = [entry for entry in entries if entry.contender in PEERS and entry.scores is not None]
    ours = entries[0].scores
    if not peers or ours is None:
        return "No peer finished."
    best = min(peers, key=lambda entry: entry.scores.wql if entry.scores else np.inf)
    assert best.scores is not None  # noqa: S101 - chosen above
    return f"WQL of {RECIPE} / best peer ({best.contender}): {ours.wql / best.scores.wql:.3f}."


def show(task: Task, entries: Sequence[Entry]) -> None:
    """Print a task's table."""
    console.rule(task.title)
    table = Table("contender", *HEADINGS, box=None)
    for entry in entries:
        table.add_row(*entry.cells())
    console.print(table)
    console.print(ratio(entries))


def document(results: Mapping[Task, Sequence[Entry]]) -> str:
    """Return all tables as Markdown, with the command and the versions that made them."""
    options = " ".join(sys.argv[1:])
    command = f"`{f'.venv/bin/python benchmarks/accuracy.py {options}'.strip()}`"
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    head = f"Command: {command}. Machine: {machine}. [The benchmarks' page](../README.md) says what the columns mean."
    lines = ["# Accuracy, side by side with peers", "", head, ""]
    packages: dict[str, str] = {}
    for task, entries in results.items():
        lines += [
            f"## {task.title}",
            "",
            "| contender | " + " | ".join(HEADINGS) + " |",
            "|---|" + "---|" * len(HEADINGS),
        ]
        lines += ["| " + " | ".join(entry.cells()) + " |" for entry in entries]
        lines += ["", ratio(entries), ""]
        for entry in entries:
            packages |= entry.packages
    return "\n".join(
        [*lines, "Versions: " + ", ".join(f"{name} {number}" for name, number in packages.items()) + ".", ""]
    )


if __name__ == "__main__":
    typer.run(main)
