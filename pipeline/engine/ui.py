"""The engine with its windows open: Airflow, MLflow and the newest report, until somebody says stop."""

import os
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from pipeline.cycle import Home
from pipeline.engine.engine import Engine, ended_by_signals
from pipeline.engine.errors import EngineError
from pipeline.engine.markets import MARKET_FILES, market_files
from pipeline.engine.ports import choose_port
from pipeline.engine.settings import LOOPBACK

__all__ = ["serve_ui"]

_AIRFLOW_PORT = 8080
_MLFLOW_PORT = 5000
_MLFLOW_SECONDS = 120.0
_POLL_SECONDS = 0.5


def serve_ui(
    home: Home,
    console: Console,
    *,
    open_browser: bool,
    airflow_port: int | None = None,
    mlflow_port: int | None = None,
) -> None:
    """Serve Airflow and MLflow on the loopback address until Ctrl-C.

    Where `MLFLOW_TRACKING_URI` names a server, that one is shown, and none is started.

    Args:
        home: whose state to show.
        console: where the addresses are printed.
        open_browser: whether to open Airflow in the person's browser.
        airflow_port: Airflow's port; by default 8080, or any free one.
        mlflow_port: MLflow's port, where it is started here; by default 5000, or any free one.

    Raises:
        EngineError: if a given port is taken, the engine cannot start, or one of its processes ends.
    """
    server = _given_mlflow()
    spared = () if server or mlflow_port is None else (mlflow_port,)
    airflow = choose_port(airflow_port, _AIRFLOW_PORT, "--airflow-port", spared)
    mlflow = choose_port(mlflow_port, _MLFLOW_PORT, "--mlflow-port", (airflow,)) if not server else None
    mlflow_address = server or f"http://{LOOPBACK}:{mlflow}"
    extra = {"TRENDMILL_MLFLOW_UI": mlflow_address, MARKET_FILES: market_files(home)}
    with ended_by_signals(), Engine(home, port=airflow, follow_schedule=True, extra=extra) as engine:
        if mlflow is not None:
            engine.add("mlflow", _mlflow_command(home, mlflow))
            _wait_for_mlflow(engine, mlflow_address)
        _tell(console, home, engine, mlflow_address)
        if open_browser:
            webbrowser.open(engine.address)
        with suppress(KeyboardInterrupt):
            while True:
                engine.check()
                time.sleep(_POLL_SECONDS)
    console.print("Everything is stopped.")


def _given_mlflow() -> str | None:
    """Return the address of the MLflow server that `MLFLOW_TRACKING_URI` names, without user and password."""
    parts = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if parts.scheme not in {"http", "https"}:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _mlflow_command(home: Home, port: int) -> list[str]:
    artifacts = home.mlflow / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--host", LOOPBACK),
        *("--port", str(port)),
        *("--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home.mlflow / 'mlflow.db'}"),
        *("--artifacts-destination", str(artifacts)),
    ]


def _wait_for_mlflow(engine: Engine, address: str) -> None:
    deadline = time.monotonic() + _MLFLOW_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/health", trust_env=False).is_success:
                return
        engine.check()
        time.sleep(_POLL_SECONDS)
    msg = f"MLflow did not come up within {_MLFLOW_SECONDS:.0f} s; see {engine.logs / 'mlflow.log'}."
    raise EngineError(msg)


def _tell(console: Console, home: Home, engine: Engine, mlflow: str) -> None:
    credentials = engine.credentials
    report = _newest_report(home)
    lines = [
        f"Airflow  {engine.address}  (user {credentials.user}, password in {credentials.password_file})",
        f"MLflow   {mlflow}/#/experiments?workflowType=machine_learning",
        f"Report   {report.as_uri()}" if report else "Report   none yet; `make run` writes one",
        "Ctrl-C stops everything.",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _newest_report(home: Home) -> Path | None:
    """Return the report of the latest as-of day of any market."""
    return max(home.reports.glob("*/*.html"), key=lambda file: file.stem, default=None)
