"""Run an Airflow command with the libraries of the tasks already imported.

Started as a script of its own: `python -P warm.py scheduler …`. The scheduler's workers and their tasks are forked from
it, so they find the libraries in memory instead of importing them, for seconds and in every single task. Libraries
only: Trendmill's own code is imported by each task, so that an edit counts from the next task on. TensorFlow stays
away too: a process that has used it must not be forked.
"""

import importlib
import runpy
import sys
from contextlib import suppress

__all__ = ["LIBRARIES", "main"]

LIBRARIES = (
    "pydantic",
    "pyarrow.dataset",
    "pandas",
    "duckdb",
    "deltalake",
    "scipy.stats",
    "mlflow.pyfunc",
    "great_expectations",
    # Airflow's own come last: with them its logging is set up, and would tell of the others' imports.
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
)
"""What most tasks import, and what nothing happens by but definitions: no thread, no connection."""


def main(arguments: list[str]) -> None:
    """Import the libraries, then be `airflow` with these arguments."""
    for name in LIBRARIES:
        with suppress(ImportError):  # the task that needs it says so better
            importlib.import_module(name)
    sys.argv = ["airflow", *arguments]
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
