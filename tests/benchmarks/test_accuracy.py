"""The accuracy benchmark: what it scores, what it refuses, and that our own panel holds just what the task tells."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from pipeline import preprocess
from pipeline.cycle import Home, open_cycle

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ITEMS = 20


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import accuracy

    return accuracy


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import recipe

    return recipe


def refused(accuracy: ModuleType, *options: str) -> str:
    app = typer.Typer()
    app.command()(accuracy.main)
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, SystemExit)
    return str(result.exception.code)


def invented_task(accuracy: ModuleType):
    def read(task: object, connection: duckdb.DuckDBPyConnection, folder: Path) -> pd.DataFrame:
        days = pd.date_range("2024-01-01", "2024-01-31")
        return pd.DataFrame({"unique_id": "a/all", "ds": days, "y": np.arange(len(days)) % 7 + (days.day > 7) * 2.0})

    task = next(iter(accuracy.TASKS.values()))
    return replace(task, name="invented", horizon=7, last_day=date(2024, 1, 31), origins_count=2, read=read)


def answered(accuracy: ModuleType, windows: list, quantiles: np.ndarray) -> pd.DataFrame:
    frames = [window.actual.assign(origin=str(window.origin)) for window in windows]
    said = pd.concat(frames, ignore_index=True)
    said[accuracy.QUANTILES] = said["y"].to_numpy()[:, None] + quantiles
    return said.drop(columns="y")


def test_scores_are_those_of_their_definitions(accuracy: ModuleType) -> None:
    task = invented_task(accuracy)
    windows = task.windows(task.frame())
    right = accuracy.scored(task, windows, answered(accuracy, windows, np.zeros(9)), "right")
    assert (right.wql, right.wape, right.mase, right.rmsse, right.coverage_80) == (0, 0, 0, 0, 1)
    above = accuracy.scored(task, windows, answered(accuracy, windows, np.ones(9)), "above")
    mean = np.mean([window.actual["y"].mean() for window in windows])
    # Every quantile lies 1 above what came: 2 x 0.5 on average, on the mean demand; no interval holds it.
    assert above.wql == pytest.approx(1 / mean)
    assert above.wape == pytest.approx(1 / mean)
    assert above.coverage_80 == 0
    # The history repeats every 7 days but for one step of 2 units.
    change = [7 * 2 / (len(window.history) - 7) for window in windows]
    assert above.mase == pytest.approx(np.mean([1 / one for one in change]))
    assert above.rmsse == pytest.approx(np.mean([1 / np.sqrt(2 * one) for one in change]))


def test_contender_that_leaves_something_out_is_refused(accuracy: ModuleType) -> None:
    task = invented_task(accuracy)
    windows = task.windows(task.frame())
    said = answered(accuracy, windows, np.zeros(9)).iloc[1:]
    with pytest.raises(
        SystemExit, match=r"^lazy leaves 1 of 7 values of 'invented' after 2024-01-17 without a forecast"
    ):
        accuracy.scored(task, windows, said, "lazy")


def test_what_is_asked_holds_nothing_of_what_comes(accuracy: ModuleType, tmp_path: Path) -> None:
    task = invented_task(accuracy)
    windows = task.windows(task.frame())
    accuracy.ask(task, windows, tmp_path, minutes=1)
    for origin in task.origins:
        history, future = (
            pd.read_parquet(tmp_path / str(origin) / f"{name}.parquet") for name in ("history", "future")
        )
        assert history["ds"].max() == pd.Timestamp(origin)
        assert list(future) == ["unique_id", "ds"]


def test_unknown_names_and_missing_environments_are_said(accuracy: ModuleType, tmp_path: Path) -> None:
    assert refused(accuracy, "--tasks", "tea").startswith(
        "There is no 'tea' among the tasks; choose from online_retail"
    )
    assert refused(accuracy, "--peers", "oracle").startswith("There is no 'oracle' among the peers; choose from")
    sentence = refused(accuracy, "--peers", "auto_ets", "--peers-python", str(tmp_path / "python"))
    assert sentence.startswith("The peer 'auto_ets' needs an environment of its own")
    assert "benchmarks/requirements-peers.txt" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["online_retail_daily", "online_retail_weekly", "orange_juice"])
def test_market_tells_the_pipeline_what_the_task_tells_peers(
    accuracy: ModuleType, recipe: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (recipe.shared_data() / "online_retail_II.parquet").exists():
        pytest.skip("the files are not in TRENDMILL_SHARED_DATA")
    monkeypatch.setenv("TRENDMILL_SHARED_DATA", str(recipe.shared_data()))
    task = accuracy.TASKS[name]
    frame = task.frame()
    if task.top is not None:
        frame = frame[frame["unique_id"].isin(frame["unique_id"].unique()[:ITEMS])]
    windows = task.windows(frame)
    accuracy.ask(task, windows, tmp_path, minutes=1)
    market = recipe.market_file(task, tmp_path, tmp_path)
    for window in (windows[0], windows[-1]):
        cycle = open_cycle(market, window.origin, Home(tmp_path / "home"))
        recipe.prepare(cycle)
        panel, _ = preprocess.load_panel(cycle)
        told = window.history.pivot(index="unique_id", columns="ds", values="y")
        told = told.reindex(index=panel.unique_id, columns=pd.to_datetime(panel.days)).to_numpy()
        assert set(panel.unique_id) == set(frame["unique_id"])
        np.testing.assert_array_equal(panel.y[panel.observed], told[panel.observed])
        # Only weeks that nobody knows of and days before a product's first sale are not observed.
        assert np.nansum(told[~panel.observed]) == 0
        ahead = window.future.pivot(index="unique_id", columns="ds")
        for column in set(task.known) - {"price"}:
            values = panel.known[:, panel.y.shape[1] :, panel.known_names.index(f"market_{column}")]
            np.testing.assert_allclose(values, ahead[column].reindex(panel.unique_id), rtol=1e-5, atol=1e-6)
