"""A night on the terminal: a live table where there is one, otherwise a line for every change."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.engine.rest import TaskState

__all__ = ["FINISHED", "Watch", "open_watch"]

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which a task instance stays."""

_HOUSEKEEPING = frozenset({"watcher"})
"""Tasks that are skipped when all goes well: no news."""

_NEWS = FINISHED - {"upstream_failed"} | {"running", "up_for_retry"}
"""States worth a line: a task that waits in vain says nothing that the failed one has not said."""

_STYLES = {
    "success": "green",
    "running": "cyan",
    "failed": "bold red",
    "up_for_retry": "yellow",
    "upstream_failed": "red",
    "skipped": "dim",
}


def _nameless(task: TaskState) -> bool:
    """Return whether a mapped task has just begun: Airflow tells its label a moment later."""
    return task.state == "running" and task.map_index >= 0 and not task.label


class Watch(Protocol):
    """Shows the task instances of a run while they change."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""

    def show(self, tasks: Sequence[TaskState]) -> None:
        """Show how the tasks stand now."""


def open_watch(console: Console, title: str) -> Watch:
    """Return the watch that suits the console."""
    return _LiveWatch(console, title) if console.is_terminal else _LineWatch(console, title)


class _LiveWatch:
    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, tasks: Sequence[TaskState]) -> None:
        table = Table(title=Text(self._title), title_justify="left", box=None, pad_edge=False)
        table.add_column("task", min_width=34)
        table.add_column("state", min_width=10)
        table.add_column("seconds", justify="right")
        table.add_column("tries", justify="right")
        for task in tasks:
            if task.task_id in _HOUSEKEEPING:
                continue
            seconds = "" if task.seconds is None else f"{task.seconds:.1f}"
            state = Text(task.state.replace("_", " "), style=_STYLES.get(task.state, "dim"))
            table.add_row(Text(task.name), state, seconds, str(task.tries or ""))
        self._live.update(table)


class _LineWatch:
    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._began = time.monotonic()
        self._told: dict[tuple[str, int], tuple[str, int]] = {}

    def __enter__(self) -> Self:
        self._console.print(self._title, markup=False, highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to take down."""

    def show(self, tasks: Sequence[TaskState]) -> None:
        for task in tasks:
            key, news = (task.task_id, task.map_index), (task.state, task.tries)
            worth_telling = task.state in _NEWS and task.task_id not in _HOUSEKEEPING and not _nameless(task)
            if worth_telling and self._told.get(key) != news:
                self._told[key] = news
                self._console.print(self._line(task), markup=False, highlight=False)

    def _line(self, task: TaskState) -> str:
        took = f" after {task.seconds:.1f} s" if task.state in FINISHED and task.seconds is not None else ""
        again = f" (try {task.tries})" if task.tries > 1 else ""
        return f"{time.monotonic() - self._began:6.1f} s  {task.name}: {task.state.replace('_', ' ')}{took}{again}"
