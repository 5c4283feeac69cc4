"""Airflow's settings for the embedded engine, as environment variables."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from pipeline.cycle import Home
from pipeline.engine.credentials import Credentials
from pipeline.engine.processes import ENGINE_ID

__all__ = ["LOOPBACK", "REPOSITORY", "database_file", "engine_environment"]

LOOPBACK = "127.0.0.1"
"""The only address that anything of the engine listens on."""

REPOSITORY = Path(__file__).resolve().parents[2]
"""Where `dags/` and `plugins/` lie."""


def database_file(home: Home) -> Path:
    """Return the SQLite file of Airflow's metadata."""
    return home.airflow / "airflow.db"


def engine_environment(
    home: Home,
    credentials: Credentials,
    *,
    port: int,
    engine_id: str,
    follow_schedule: bool,
    task_slots: int,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of an engine process.

    Args:
        home: where state is kept.
        credentials: the engine's secrets; only the commands that read them enter the environment.
        port: the api-server's port.
        engine_id: the mark of this engine's processes.
        follow_schedule: whether the scheduler may start nightly runs by itself.
        task_slots: how many tasks may run at once.
        extra: further variables, such as the market file's path.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "_AIRFLOW"))}
    address = f"http://{LOOPBACK}:{port}"
    logs = home.airflow / "logs"
    settings = {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__INSTANCE_NAME": "Trendmill",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY_CMD": _reading(credentials.api_secret_file),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": _reading(credentials.jwt_secret_file),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY_CMD": _reading(credentials.fernet_key_file),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(task_slots),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(credentials.password_file),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{credentials.user}:admin",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database_file(home)}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_processor"),
        # A worker whose supervisor died is noticed after this long; a task killed alone is noticed at once.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(follow_schedule),
        # How soon a finished task is noticed: the default of five seconds doubles the length of short runs.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # The scheduler imports libraries for its tasks, before our own code could tell them this.
        "GIT_PYTHON_REFRESH": "quiet",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "NO_PROXY": _without_proxy(inherited),
        "SCARF_ANALYTICS": "false",
        "TQDM_DISABLE": "1",
        "TRENDMILL_HOME": str(home.path),
        ENGINE_ID: engine_id,
    }
    settings["no_proxy"] = settings["NO_PROXY"]
    return inherited | settings | dict(extra)


def _reading(file: Path) -> str:
    return f"cat {shlex.quote(str(file))}"


def _without_proxy(environment: Mapping[str, str]) -> str:
    """Return the addresses that bypass a proxy: the given ones, and the engine's own."""
    given = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return ",".join(filter(None, [given, LOOPBACK, "localhost"]))
