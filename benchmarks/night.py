"""What a night costs and what it gains: one command, `.venv/bin/python benchmarks/night.py [MARKET] [--date D]`.

Runs one cycle twice from nothing, in one process and on the embedded Airflow, and prints the engine's time as a ratio
to the plain process's, the slowest stages, the peak memory, and every candidate's weighted quantile loss as a ratio to
the seasonal naive's. Both runs must publish the same rows.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.engine import run_night
from pipeline.publish.summary import summarise

MEGABYTE = 1024**2
POLL_SECONDS = 0.5

console = Console()


def main(
    market: Annotated[str, typer.Argument(help="A name in markets/, or a YAML's path.")] = "complete_journey",
    day: Annotated[str, typer.Option("--date", help="The as-of day.")] = "2017-11-30",
) -> None:
    """Measure one night."""
    with tempfile.TemporaryDirectory() as scratch:
        plain = open_cycle(market, date.fromisoformat(day), Home(Path(scratch) / "plain"))
        seconds, memory = timed_cycle(plain)
        engine = Cycle(plain.market, plain.as_of, Home(Path(scratch) / "engine"))
        night = run_night(engine.market.file, engine.as_of, engine.home, console)
        if not night.succeeded:
            sys.exit(f"The night on the engine failed: {night.failure}")
        same = published(plain).equals(published(engine))

        console.rule(f"{plain.key}")
        table = Table("", "one process", "on Airflow", "ratio", box=None)
        table.add_row("seconds", f"{seconds:.0f}", f"{night.total_seconds:.0f}", f"{night.total_seconds / seconds:.2f}")
        table.add_row("peak MB", f"{memory:.0f}", f"{night.peak_memory_bytes / MEGABYTE:.0f}", "")
        console.print(table)
        console.print(f"Airflow's own start: {night.engine_start_seconds:.0f} s. Same published rows: {same}.")
        slowest = sorted(night.tasks, key=lambda task: task.seconds or 0, reverse=True)[:8]
        console.print("Slowest tasks: " + ", ".join(f"{task.name} {task.seconds or 0:.0f} s" for task in slowest))
        accuracy(plain)
        if not same:
            sys.exit("The engine published other rows than the plain process.")


def timed_cycle(cycle: Cycle) -> tuple[float, float]:
    """Run a cycle in a process of its own and return its seconds and its peak resident megabytes."""
    command = [sys.executable, "-m", "pipeline", "cycle", str(cycle.market.file), "--date", str(cycle.as_of)]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | {"TRENDMILL_HOME": str(cycle.home.path)}, stdout=subprocess.DEVNULL
    )
    peak = [0.0]
    watcher = threading.Thread(target=watch_memory, args=(process.pid, peak))
    watcher.start()
    if process.wait() != 0:
        sys.exit("The cycle in one process failed.")
    seconds = time.perf_counter() - started
    watcher.join()
    return seconds, peak[0]


def watch_memory(pid: int, peak: list[float]) -> None:
    """Keep the highest resident size of a process, in megabytes, until it ends."""
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            peak[0] = max(peak[0], process.memory_info().rss / MEGABYTE)
            time.sleep(POLL_SECONDS)
    except psutil.NoSuchProcess:
        return


def published(cycle: Cycle):  # noqa: ANN201 - a pyarrow table
    """Return the cycle's vintage in a fixed order."""
    rows = cycle.lake.read("forecasts", cycle=cycle.as_of)
    return rows.sort_by([("unique_id", "ascending"), ("ds", "ascending")])


def accuracy(cycle: Cycle) -> None:
    """Print each candidate's loss as a ratio to the baseline's."""
    summary = summarise(cycle)
    table = Table("candidate", "WQL", "ratio to naive", "80 % coverage", "WAPE", "RMSSE", box=None)
    for line in summary.leaderboard:
        table.add_row(
            line.candidate,
            f"{line.wql:.4f}",
            f"{1 - line.gain:.3f}",
            f"{line.coverage_80:.1%}",
            f"{line.wape:.3f}",
            f"{line.rmsse:.3f}",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
