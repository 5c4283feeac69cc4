"""The accuracy benchmark's tasks: as many series and weeks as they are known to have, and nothing of what comes."""

from datetime import date
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from benchmarks.tasks import LEVELS, TASKS, Task, shared_data
from pipeline.evaluate.metrics import weighted_quantile_loss

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shared_data() / "online_retail_II.parquet").exists(), reason="the files are not in TRENDMILL_SHARED_DATA"
    ),
]

SERIES = {"online_retail_daily": 500, "online_retail_weekly": 1000, "orange_juice": 913}
PERIODS = {"online_retail_daily": 738, "online_retail_weekly": 104, "orange_juice": 121}
FIRST_ORIGIN = {
    "online_retail_daily": date(2011, 11, 3),
    "online_retail_weekly": date(2011, 8, 14),
    "orange_juice": date(1992, 6, 14),
}
NAIVE_LOSS = {"online_retail_daily": 1.100, "online_retail_weekly": 0.868, "orange_juice": 0.991}
"""Weighted quantile loss of the seasonal naive, as others have measured it on the same tasks."""


@pytest.fixture(scope="module", params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


@pytest.fixture(scope="module")
def frame(task: Task) -> pd.DataFrame:
    return task.frame()


def test_tasks_have_the_series_and_periods_that_they_are_known_for(task: Task, frame: pd.DataFrame) -> None:
    assert frame["unique_id"].nunique() == SERIES[task.name]
    assert frame["ds"].nunique() == PERIODS[task.name]
    assert task.origins[0] == FIRST_ORIGIN[task.name]
    assert not frame.duplicated(["unique_id", "ds"]).any()
    assert frame["y"].notna().all()
    if task.frequency == "W":
        assert set(frame["ds"].dt.day_of_week) == {0}
        assert {origin.weekday() for origin in task.origins} == {6}


def test_no_window_holds_anything_of_what_comes(task: Task, frame: pd.DataFrame) -> None:
    for window in task.windows(frame):
        after = pd.Timestamp(window.origin)
        assert window.history["ds"].max() <= after < window.future["ds"].min()
        assert list(window.future) == ["unique_id", "ds", *task.known]
        assert len(window.future) == SERIES[task.name] * task.horizon
        assert not window.future.isna().to_numpy().any()
        assert window.actual["ds"].nunique() == task.horizon
    assert window.actual["ds"].max() == frame["ds"].max()


def test_seasonal_naive_does_as_it_is_known_to_do(task: Task, frame: pd.DataFrame) -> None:
    losses = []
    for window in task.windows(frame):
        seen = window.history.pivot(index="unique_id", columns="ds", values="y")
        days = pd.date_range(seen.columns.min(), seen.columns.max(), freq=task.period)
        said = naive_quantiles(seen.reindex(columns=days).ffill(axis=1).to_numpy(), task)
        ahead = pd.date_range(days[-1] + task.period, periods=task.horizon, freq=task.period)
        came = window.actual.pivot(index="unique_id", columns="ds", values="y").reindex(seen.index)[ahead]
        losses.append(weighted_quantile_loss(came.to_numpy().ravel(), said.reshape(-1, len(LEVELS)), LEVELS))
    assert np.mean(losses) == pytest.approx(NAIVE_LOSS[task.name], rel=0.01)


def naive_quantiles(y: np.ndarray, task: Task) -> np.ndarray:
    """Return the last season again, with normal errors that grow with each season ahead `[S, H, Q]`."""
    season, lead = task.season, np.arange(task.horizon)
    point = y[:, y.shape[1] - season + lead % season]
    change = y[:, season:] - y[:, :-season]
    known = np.isfinite(change).sum(axis=1) - 1
    spread = np.sqrt(np.nansum(change**2, axis=1) / known)[:, None] * np.sqrt(lead // season + 1)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return np.maximum(point[..., None] + spread[..., None] * normal, 0)
