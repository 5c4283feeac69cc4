"""What a user would pick instead: each peer forecasts one task in a process of its own, in an environment of its own.

`python benchmarks/peers.py PEER FOLDER` reads what `accuracy.py` has written into the folder and leaves the quantiles
in `PEER.parquet` and what there is to say in `PEER.json`. Nothing here uses the pipeline, and a peer's libraries are
imported only where it runs. All peers see the same history, attributes and covariates known ahead.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

__all__ = ["PEERS"]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUANTILES = [f"q{level}" for level in LEVELS]
SEED = 7
TREES = 200


@dataclass(frozen=True)
class Window:
    """What may be known at one origin."""

    origin: str
    history: pd.DataFrame
    """`unique_id, ds, y`, attributes and covariates; periods of which nothing is known are missing."""
    future: pd.DataFrame
    """`unique_id, ds` and the covariates known ahead."""


@dataclass(frozen=True)
class Question:
    """A task as a peer sees it."""

    frequency: str
    """pandas' word: `D` or `W-MON`."""
    horizon: int
    season: int
    known: list[str]
    past: list[str]
    static: list[str]
    limit_seconds: int
    """A peer that needs longer is ended; AutoGluon is told."""
    windows: list[Window]

    @classmethod
    def read(cls, folder: Path) -> "Question":
        """Return the question that a folder holds."""
        asked = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        windows = [
            Window(
                origin,
                pd.read_parquet(folder / origin / "history.parquet"),
                pd.read_parquet(folder / origin / "future.parquet"),
            )
            for origin in asked.pop("origins")
        ]
        return cls(**asked, windows=windows)


def main(peer: str, folder: Path) -> None:
    """Let one peer answer, and write down what it says."""
    question = Question.read(folder)
    packages, answer = PEERS[peer]
    said: dict[str, Any] = {"packages": {name: version(name) for name in packages}}
    if peer != "autogluon":
        end_after(question.limit_seconds, folder / f"{peer}.json", said)
    forecasts = answer(question)
    signal.alarm(0)
    frames = [frame.assign(origin=window.origin) for frame, window in zip(forecasts, question.windows, strict=True)]
    columns = ["unique_id", "origin", "ds", *QUANTILES]
    pd.concat(frames)[columns].reset_index(drop=True).to_parquet(folder / f"{peer}.parquet")
    (folder / f"{peer}.json").write_text(json.dumps(said), encoding="utf-8")


def end_after(seconds: int, file: Path, said: dict[str, Any]) -> None:
    """End this process with all that it has started once its time is up, and leave word of it."""

    def end(*_: object) -> NoReturn:
        file.write_text(json.dumps(said | {"unfinished": True}), encoding="utf-8")
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(0)

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)


def statistical(model: str, question: Question) -> list[pd.DataFrame]:
    """Fit one of statsforecast's models to each series at each origin; its intervals are the quantiles."""
    from statsforecast import StatsForecast, models

    fitted = getattr(models, model)(season_length=question.season)
    known = question.known if model == "AutoARIMA" else []
    percent = [20, 40, 60, 80]
    columns = [
        *(f"{model}-lo-{level}" for level in reversed(percent)),
        model,
        *(f"{model}-hi-{level}" for level in percent),
    ]
    forecasts = []
    for window in question.windows:
        history = regular(question, window.history).ffill()[["unique_id", "ds", "y", *known]]
        ahead = window.future[["unique_id", "ds", *known]] if known else None
        said = StatsForecast(models=[fitted], freq=question.frequency, n_jobs=-1).forecast(
            df=history, h=question.horizon, X_df=ahead, level=percent
        )
        forecasts.append(named(said, columns))
    return forecasts


def boosted_recursive(question: Question) -> list[pd.DataFrame]:
    """Fit mlforecast's recursive models at each origin, one LightGBM a quantile."""
    return [
        predicted(
            question,
            window,
            learner(question).fit(learnable(question, window), static_features=question.static, dropna=False),
        )
        for window in question.windows
    ]


def boosted_direct(question: Question) -> list[pd.DataFrame]:
    """Fit mlforecast's direct models at the first origin, one LightGBM a quantile and lead."""
    first = learnable(question, question.windows[0])
    fitted = learner(question).fit(first, static_features=question.static, dropna=False, max_horizon=question.horizon)
    return [predicted(question, window, fitted) for window in question.windows]


def learner(question: Question) -> Any:  # noqa: ANN401 - mlforecast is not there when types are checked
    """Return mlforecast with lags, rolling means, dates and scaled targets, as its guides put them together."""
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import ExpandingMean, RollingMean, RollingStd
    from mlforecast.target_transforms import LocalStandardScaler

    daily = question.frequency == "D"
    windows = (7, 28, 91) if daily else (4, 13, 26)
    return MLForecast(
        models={
            name: LGBMRegressor(
                objective="quantile",
                alpha=level,
                n_estimators=TREES,
                learning_rate=0.05,
                min_child_samples=50,
                random_state=SEED,
                verbosity=-1,
            )
            for name, level in zip(QUANTILES, LEVELS, strict=True)
        },
        freq=question.frequency,
        lags=[*range(1, 8), 14, 21, 28, 364] if daily else [1, 2, 3, 4, 5, 6, 7, 8, 13, 26, 52],
        lag_transforms={
            1: [
                *(RollingMean(size, min_samples=1) for size in windows),
                RollingStd(windows[1], min_samples=2),
                ExpandingMean(),
            ]
        },
        date_features=["dayofweek", "day", "month"] if daily else ["week", "month"],
        target_transforms=[LocalStandardScaler()],
    )


def learnable(question: Question, window: Window) -> pd.DataFrame:
    """Return a history without gaps: a missing week has the values of the one before it."""
    history = regular(question, window.history).ffill()
    history[question.static] = history[question.static].astype("category")
    return history[["unique_id", "ds", "y", *question.static, *question.known]]


def predicted(question: Question, window: Window, fitted: Any) -> pd.DataFrame:  # noqa: ANN401
    """Return what a fitted mlforecast says at an origin."""
    ahead = window.future if question.known else None
    return named(fitted.predict(h=question.horizon, X_df=ahead, new_df=learnable(question, window)), QUANTILES)


def autogluon(question: Question) -> list[pd.DataFrame]:
    """Fit AutoGluon's preset `medium_quality` at the first origin, without the models that it would download."""
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor

    def framed(history: pd.DataFrame) -> Any:  # noqa: ANN401
        attributes = history.groupby("unique_id", as_index=False)[question.static].first() if question.static else None
        values = regular(question, history)[["unique_id", "ds", "y", *question.known, *question.past]]
        return TimeSeriesDataFrame.from_data_frame(
            values, id_column="unique_id", timestamp_column="ds", static_features_df=attributes
        )

    with tempfile.TemporaryDirectory() as scratch:
        predictor = TimeSeriesPredictor(
            prediction_length=question.horizon,
            target="y",
            known_covariates_names=question.known or None,
            freq=question.frequency,
            eval_metric="WQL",
            quantile_levels=list(LEVELS),
            path=scratch,
            verbosity=1,
        )
        predictor.fit(
            framed(question.windows[0].history),
            presets="medium_quality",
            time_limit=question.limit_seconds,
            excluded_model_types=["Chronos", "Chronos2", "Toto", "Toto2"],
            random_seed=SEED,
        )
        forecasts = []
        for window in question.windows:
            ahead = window.future if question.known else None
            if ahead is not None:
                ahead = TimeSeriesDataFrame.from_data_frame(ahead, id_column="unique_id", timestamp_column="ds")
            said = predictor.predict(framed(window.history), known_covariates=ahead, random_seed=SEED)
            said = said.to_data_frame().reset_index().rename(columns={"item_id": "unique_id", "timestamp": "ds"})
            forecasts.append(named(said, [str(level) for level in LEVELS]))
        return forecasts


def regular(question: Question, history: pd.DataFrame) -> pd.DataFrame:
    """Return a history with a row for each period up to the origin; of missing ones only the attributes are known."""
    from utilsforecast.preprocessing import fill_gaps

    whole = fill_gaps(history, freq=question.frequency, end=history["ds"].max())
    for name in question.static:
        whole[name] = whole.groupby("unique_id")[name].ffill()
    return whole


def named(said: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return a peer's quantiles under our names, in order and not below zero, as any user would make them."""
    frame = said[["unique_id", "ds", *columns]].set_axis(["unique_id", "ds", *QUANTILES], axis=1)
    values = frame[QUANTILES].to_numpy(copy=True)
    values.sort(axis=1)
    frame[QUANTILES] = values.clip(min=0)
    return frame


PEERS: dict[str, tuple[tuple[str, ...], Callable[[Question], list[pd.DataFrame]]]] = {
    "seasonal_naive": (("statsforecast",), partial(statistical, "SeasonalNaive")),
    "auto_ets": (("statsforecast",), partial(statistical, "AutoETS")),
    "auto_theta": (("statsforecast",), partial(statistical, "AutoTheta")),
    "auto_arima": (("statsforecast",), partial(statistical, "AutoARIMA")),
    "mlforecast_recursive": (("mlforecast", "lightgbm"), boosted_recursive),
    "mlforecast_direct": (("mlforecast", "lightgbm"), boosted_direct),
    "autogluon": (("autogluon.timeseries",), autogluon),
}
"""Every peer by its name: the packages that it stands for, and how it answers."""

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
