"""The command line as a person meets it: exit codes, one sentence for a mistake, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cycle import Home
from tests.conftest import AS_OF, MarketWriter


def trendmill(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    told = done.stderr.strip().splitlines()
    assert len(told) == 1, done.stderr
    for word in words:
        assert word in told[0]


def break_sales(file: Path, change) -> None:
    path = file.parent / "sales.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizn_days": 7}, ("horizn_days", "not a known key")),
        ({"horizon": "soon"}, ("horizon", "soon")),
    ],
)
def test_broken_market_is_one_sentence(small_market: MarketWriter, home: Home, changes, words) -> None:
    assert_one_sentence(trendmill("cycle", small_market(**changes), "--date", str(AS_OF)), "small.yaml", *words)
    assert not home.path.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sales: sales.drop(columns="units"), ("lack the column 'units'",)),
        (lambda sales: sales.head(0), ("no rows between",)),
        (lambda sales: sales[sales["date"] < "2021-05-01"], ("newest row", "2021-04-30")),
    ],
    ids=["missing column", "empty feed", "date outside the data"],
)
def test_broken_source_is_one_sentence_and_leaves_no_table(
    small_market: MarketWriter, home: Home, change, words
) -> None:
    file = small_market()
    break_sales(file, change)
    assert_one_sentence(trendmill("cycle", file, "--date", str(AS_OF)), *words)
    assert not list(home.lake.rglob("*.parquet"))


@pytest.mark.slow
def test_date_before_the_history_and_missing_market_are_one_sentence(small_market: MarketWriter) -> None:
    assert_one_sentence(trendmill("collect", small_market(), "--date", "2019-01-01"), "starts on 2021-01-04")
    assert_one_sentence(
        trendmill("validate", small_market(), "--date", str(AS_OF), "--feed", "stock"), "no feed 'stock'"
    )
    assert_one_sentence(
        trendmill("train", small_market(), "--date", str(AS_OF), "--candidate", "typo"), "no candidate 'typo'"
    )
    assert_one_sentence(trendmill("collect", "atlantis", "--date", "2019-01-01"), "no market 'atlantis'")
    assert_one_sentence(trendmill("collect", "/nowhere/x.yaml", "--date", "2019-01-01"), "cannot be read")


@pytest.mark.slow
def test_whole_cycle_and_export_without_airflow(small_market: MarketWriter, home: Home, tmp_path: Path) -> None:
    candidates = {"seasonal_naive": {"model": "seasonal_naive"}}
    file = small_market(candidates=candidates)
    done = trendmill("cycle", file, "--date", str(AS_OF))
    assert done.returncode == 0, done.stderr
    assert "Winner: seasonal_naive" in done.stdout
    assert (home.reports / "small" / f"{AS_OF}.html").exists()
    out = tmp_path / "forecasts.csv"
    assert trendmill("forecasts", file, "--out", out).returncode == 0
    assert len(pd.read_csv(out)) == 280


def test_help_names_every_stage() -> None:
    done = trendmill("--help")
    assert done.returncode == 0
    for stage in ("collect", "validate", "preprocess", "train", "evaluate", "promote", "publish", "run", "doctor"):
        assert stage in done.stdout
