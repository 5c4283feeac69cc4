"""What it costs to take order lines in: one command, `.venv/bin/python benchmarks/ingest.py [--millions 1 10 50]`.

Simulates order lines of two years, then collects, validates and commits them, each stage in a process of its own as
Airflow runs it, and prints seconds as a ratio to DuckDB merely aggregating the same Parquet files to the same facts,
with the peak memory of each size. A second table shows what one further night costs on half a year, one and two years
of history. The facts in the lake must equal DuckDB's sums.
"""

import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer
import yaml
from measure import Measured, measured
from rich.console import Console
from rich.table import Table

from pipeline.cycle import Home, open_cycle
from pipeline.feeds import FEEDS
from pipeline.simulate.answers import Shop
from pipeline.simulate.export import Period, export
from pipeline.simulate.settings import SimulatorSettings

START = date(2022, 1, 1)
DAYS = 730
ITEMS = 1000
MILLION = 1_000_000
LINES_PER_ORDER = 1.6
PROBES = 24
"""Days of a world that are looked at to tell how many lines it has."""

BARE = """
import duckdb, sys
duckdb.sql(f'''
    SELECT item, location, date, sum(units::DECIMAL(18, 4)) AS units, sum(revenue::DECIMAL(18, 4)) AS revenue,
           count(DISTINCT order_id) AS orders, count(DISTINCT customer) AS buyers
    FROM read_parquet('{sys.argv[1]}/*.parquet') GROUP BY ALL
''').to_arrow_table()
"""

console = Console()


def main(
    millions: Annotated[list[float], typer.Option(help="Sizes, in millions of order lines.")] = [1, 10, 50],  # noqa: B006
    years: Annotated[list[float], typer.Option(help="Lengths of history for the increment.")] = [0.5, 1, 2],  # noqa: B006
    nightly_lines: Annotated[int, typer.Option(help="Order lines a day for the increment.")] = 3000,
) -> None:
    """Measure bulk load and increment."""
    with tempfile.TemporaryDirectory() as scratch:
        bulk(Path(scratch), sorted(millions))
        increments(Path(scratch), sorted(years), nightly_lines)


def bulk(scratch: Path, millions: list[float]) -> None:
    """Print what the first load of each size costs."""
    table = Table("million lines", "bare DuckDB", "collect", "validate + commit", "ratio", "peak MB", box=None)
    for size in millions:
        folder = simulated(scratch / f"lines-{size:g}", int(size * MILLION / DAYS), DAYS, "month")
        market = market_file(scratch / f"market-{size:g}", folder)
        day = START + timedelta(days=DAYS - 1)
        home = scratch / f"home-{size:g}"
        bare = measured([sys.executable, "-c", BARE, str(folder)])
        collect, validate = (night_stage(stage, market, day, home) for stage in ("collect", "validate"))
        check_facts(market, day, home, folder)
        table.add_row(
            f"{lines_in(folder) / MILLION:.2f}",
            f"{bare.seconds:.1f} s",
            f"{collect.seconds:.1f} s",
            f"{validate.seconds:.1f} s",
            f"{(collect.seconds + validate.seconds) / bare.seconds:.2f}",
            f"{max(collect.peak_megabytes, validate.peak_megabytes):.0f} (DuckDB {bare.peak_megabytes:.0f})",
        )
        console.print(f"{size:g} million lines done: {validate.output.strip().splitlines()[-1]}")
    console.print(table)


def increments(scratch: Path, years: list[float], nightly_lines: int) -> None:
    """Print what one further night costs on histories of several lengths."""
    days = round(max(years) * 365) + 1
    folder = simulated(scratch / "nightly", nightly_lines, days, "day")
    table = Table("years of history", "first load", "one more night", "ratio to the shortest", box=None)
    shortest = None
    for length in years:
        home, market = scratch / f"home-years-{length:g}", market_file(scratch / "nightly-market", folder)
        day = START + timedelta(days=round(length * 365) - 1)
        first = [night_stage(stage, market, day, home) for stage in ("collect", "validate")]
        night = [night_stage(stage, market, day + timedelta(days=1), home) for stage in ("collect", "validate")]
        seconds = sum(stage.seconds for stage in night)
        shortest = shortest or seconds
        table.add_row(
            f"{length:g}",
            f"{sum(stage.seconds for stage in first):.1f} s",
            f"{seconds:.1f} s",
            f"{seconds / shortest:.2f}",
        )
    console.print(table)
    nothing = measured([sys.executable, "-c", "import great_expectations, deltalake, duckdb"])
    console.print(f"Of each night, about {2 * nothing.seconds:.1f} s are two processes' imports.")


def simulated(folder: Path, lines_a_day: int, days: int, period: Period) -> Path:
    """Write about that many clean order lines and return the folder of their files."""
    last = START + timedelta(days=days - 1)
    settings = world(lines_a_day / LINES_PER_ORDER, days)
    probes = [START + timedelta(days=days * number // PROBES) for number in range(PROBES)]
    actual = sum(lines_on(settings, day) for day in probes) / PROBES
    settings = world(lines_a_day / LINES_PER_ORDER * lines_a_day / actual, days)
    export(settings, {"sales": "lines"}, folder, since=START, until=last, period=period)
    return folder / "sales"


def lines_on(settings: SimulatorSettings, day: date) -> int:
    """Return how many order lines a world has on a day."""
    answer = Shop(settings).answer(FEEDS["sales"], "lines", since=day, until=day, as_of=day)
    return sum(table.num_rows for table in answer)


def world(orders_a_day: float, days: int) -> SimulatorSettings:
    """Return a world without late or corrected records."""
    return SimulatorSettings(
        start=START,
        days=days,
        items=ITEMS,
        orders_a_day=orders_a_day,
        customers=200_000,
        lines_per_order=LINES_PER_ORDER,
        events=False,
        late_share=0,
        correction_share=0,
        deleted_share=0,
    )


def market_file(folder: Path, lines: Path) -> Path:
    """Write a market that reads these lines, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ingest.yaml"
    market = {
        "name": "ingest",
        "title": "Order lines to take in",
        "history_start": START,
        "look_back_days": 14,
        "feeds": {"sales": {"source": "files", "path": str(lines)}},
        "candidates": {"seasonal_naive": {"model": "seasonal_naive"}},
    }
    file.write_text(yaml.safe_dump(market), encoding="utf-8")
    return file


def night_stage(stage: str, market: Path, day: date, home: Path) -> Measured:
    """Run one stage of a cycle for the sales in a process of its own."""
    command = [sys.executable, "-m", "pipeline", stage, str(market), "--date", str(day), "--feed", "sales"]
    return measured(command, {"TRENDMILL_HOME": str(home)})


def check_facts(market: Path, day: date, home: Path, folder: Path) -> None:
    """End the benchmark if the lake does not hold what the files say."""
    with duckdb.connect() as connection:
        facts = open_cycle(market, day, Home(home)).lake.as_of("sales", FEEDS["sales"].key, day)
        connection.register("facts", facts)
        difference = "SELECT sum(units::DECIMAL(18, 4)) - sum(returns::DECIMAL(18, 4)) FROM facts"
        units = connection.sql(difference).fetchall()
    lines = f"SELECT sum(units::DECIMAL(18, 4)) FROM (SELECT DISTINCT * FROM read_parquet('{folder}/*.parquet'))"  # noqa: S608
    expected = duckdb.sql(lines).fetchall()
    if units != expected:
        sys.exit(f"The lake holds {units[0][0]} units, but the files say {expected[0][0]}.")


def lines_in(folder: Path) -> int:
    """Return how many lines the files hold."""
    ((rows,),) = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/*.parquet')").fetchall()  # noqa: S608
    return rows


if __name__ == "__main__":
    typer.run(main)
