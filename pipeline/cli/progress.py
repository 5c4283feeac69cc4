"""How a stage shows itself on the terminal: a spinner or a bar while it works, one line when it has."""

import time
from collections.abc import Callable, Mapping

from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from pipeline.cli.app import console
from pipeline.stage import StageReport

__all__ = ["show_fit", "show_stage"]


def show_stage(title: str, work: Callable[..., StageReport], *arguments: object) -> None:
    """Run a stage behind a spinner and print what it says."""
    started = time.perf_counter()
    with _bars() as bars:
        bars.add_task(title, total=None)
        report = work(*arguments)
    _say(title, time.perf_counter() - started, report)


def show_fit(title: str, work: Callable[..., StageReport], *arguments: object) -> None:
    """Run a stage that fits a candidate behind a progress bar with its learning curve, and print what it says."""
    started = time.perf_counter()
    with _bars() as bars:
        bar = bars.add_task(title, total=None)

        def progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            bars.update(bar, completed=step, total=steps, description=f"{title} {shown}")

        report = work(*arguments, progress)
    _say(title, time.perf_counter() - started, report)


def _bars() -> Bars:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Bars(*columns, console=console, transient=True, disable=not console.is_terminal)


def _say(title: str, seconds: float, report: StageReport) -> None:
    console.print(f"{seconds:6.1f} s  [bold]{escape(title)}[/]  {escape(report.summary())}", soft_wrap=True)
