"""The part of Airflow's public REST API that the engine's supervisor uses."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from pipeline.engine.errors import EngineError

__all__ = ["AirflowApi", "ImportProblem", "TaskState"]

_TIMEOUT_SECONDS = 30.0
_WARM_UP_SECONDS = 120.0
_PAGE = 100
_ATTEMPTS = 3


@dataclass(frozen=True)
class TaskState:
    """One task instance as Airflow sees it now."""

    task_id: str
    map_index: int
    label: str
    """The mapped value's name, such as the feed; empty where the task is not mapped or has not begun."""
    state: str
    started: str | None
    """When its last try began, ISO 8601."""
    seconds: float | None
    tries: int
    pid: int | None

    @property
    def name(self) -> str:
        """The name to show: `feeds.collect [sales]`."""
        if self.map_index < 0:
            return self.task_id
        return f"{self.task_id} [{self.label or self.map_index}]"


@dataclass(frozen=True)
class ImportProblem:
    """Why Airflow could not import a DAG file, when it last tried; Airflow keeps it until the file is read again."""

    file: str
    """Path of the DAG file, below the DAG folder or absolute."""
    seen: datetime
    trace: str

    @property
    def message(self) -> str:
        """The last line: the error itself."""
        return next((line.strip() for line in reversed(self.trace.splitlines()) if line.strip()), "")

    def sentence_on(self, market_file: Path) -> str | None:
        """Return the line that names a market's file, or None."""
        return next((line.strip() for line in self.trace.splitlines() if f" {market_file} " in f" {line} "), None)


class AirflowApi:
    """A client of one api-server, logged in with the engine's own user."""

    def __init__(self, address: str) -> None:
        # Proxies and .netrc of the environment are not meant for the loopback address.
        self._client = httpx.Client(base_url=address, timeout=_TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> dict[str, str]:
        """Return each component's health; empty while the api-server does not answer."""
        try:
            answer = self._client.get("/api/v2/monitor/health")
            answer.raise_for_status()
        except httpx.HTTPError:
            return {}
        return {name: str(part["status"]) for name, part in answer.json().items() if part}

    def warm_up(self) -> None:
        """Let the api-server build the tasks' own API, which it otherwise does, for seconds, under the first task."""
        self._call("GET", "/execution/health", timeout=_WARM_UP_SECONDS)

    def log_in(self, user: str, password: str) -> None:
        """Take a token for all further calls."""
        answer = self._call("POST", "/auth/token", json={"username": user, "password": password})
        token = self._content(answer)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool unless it is there; the size that somebody gave it stays."""
        if self._call("GET", f"/api/v2/pools/{name}").status_code == httpx.codes.NOT_FOUND:
            body = {"name": name, "slots": slots, "description": description}
            self._content(self._call("POST", "/api/v2/pools", json=body))

    def parsed_at(self, dag_id: str) -> datetime | None:
        """Return when the DAG was last parsed, or None if it is not known (yet)."""
        answer = self._call("GET", f"/api/v2/dags/{dag_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        parsed = self._content(answer)["last_parsed_time"]
        return datetime.fromisoformat(parsed) if parsed else None

    def import_problems(self) -> list[ImportProblem]:
        """Return the import errors of all DAG files, old ones included."""
        return [
            ImportProblem(found["filename"], datetime.fromisoformat(found["timestamp"]), found["stack_trace"])
            for found in self._all("/api/v2/importErrors", "import_errors")
        ]

    def is_paused(self, dag_id: str) -> bool:
        """Return whether a DAG is held."""
        return bool(self._content(self._call("GET", f"/api/v2/dags/{dag_id}"))["is_paused"])

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Hold a DAG, or let it go."""
        self._content(self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused}))

    def run_at(self, dag_id: str, logical_date: datetime) -> str | None:
        """Return the id of the run for a logical date, or None if there is none."""
        instant = logical_date.astimezone(UTC).isoformat()
        found = self._runs(dag_id, logical_date_gte=instant, logical_date_lte=instant)
        return found[0][1] if found else None

    def unfinished_runs(self, dag_id: str = "~") -> list[tuple[str, str]]:
        """Return DAG and run of everything that waits or runs, of all DAGs by default."""
        return self._runs(dag_id, state=["queued", "running"])

    def trigger(self, dag_id: str, run_id: str, logical_date: datetime) -> None:
        """Start a run for a logical date."""
        body = {"dag_run_id": run_id, "logical_date": logical_date.isoformat()}
        self._content(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body))

    def clear(self, dag_id: str, run_id: str) -> None:
        """Forget what all tasks of a run did, so that they run again with the DAG as it is now."""
        body = {"dry_run": False, "run_on_latest_version": True}
        self._content(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json=body))

    def fail(self, dag_id: str, run_id: str, why: str) -> None:
        """Mark a run as failed, with a note; its running tasks are told to stop."""
        body = {"state": "failed", "note": why}
        self._content(self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json=body))

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state."""
        return str(self._content(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return all task instances of a run."""
        return [
            TaskState(
                task_id=found["task_id"],
                map_index=found["map_index"],
                label=_label(found),
                state=found["state"] or "waiting",
                started=found["start_date"],
                seconds=found["duration"],
                tries=found["try_number"],
                pid=found["pid"],
            )
            for found in self._all(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")
        ]

    def log(self, dag_id: str, run_id: str, task: TaskState) -> list[dict[str, Any]]:
        """Return the log lines of a task instance's last try, oldest first, as Airflow structures them."""
        url = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{max(task.tries, 1)}"
        answer = self._call("GET", url, params={"map_index": task.map_index}, headers={"Accept": "application/json"})
        content = self._content(answer)["content"]
        return [line if isinstance(line, dict) else {"event": str(line)} for line in content]

    def _runs(self, dag_id: str, **filters: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - query parameters
        answer = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=filters | {"limit": _PAGE})
        return [(run["dag_id"], run["dag_run_id"]) for run in self._content(answer)["dag_runs"]]

    def _all(self, url: str, key: str) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._content(self._call("GET", url, params={"limit": _PAGE, "offset": offset}))
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return

    def _call(self, method: str, url: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Send a request; a question (GET) is asked again when a busy machine lets it down."""
        attempts = _ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._client.request(method, url, **arguments)
            except httpx.TransportError as exc:
                if attempt == attempts:
                    msg = f"Airflow's api-server does not answer ({exc}); see its log."
                    raise EngineError(msg) from exc
                time.sleep(attempt)
        raise AssertionError

    @staticmethod
    def _content(answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            request = answer.request
            msg = (
                f"Airflow refused {request.method} {request.url.path} with status {answer.status_code}"
                f" ({_detail(answer)}); see the api-server's log."
            )
            raise EngineError(msg)
        return dict(answer.json()) if answer.content else {}


def _label(found: dict[str, Any]) -> str:
    """Return a mapped task's label; until a try has rendered it, Airflow gives the bare index."""
    label = str(found["rendered_map_index"] or "")
    return "" if label == str(found["map_index"]) else label


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
