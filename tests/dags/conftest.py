"""DAG files are loaded as Airflow loads them: with `dags/` on the path, and an AIRFLOW_HOME of the tests' own.

The tests import Airflow where they use it: whoever collects them for another worker to run need not wait for it.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

_DAGS = Path(__file__).resolve().parents[2] / "dags"
# Airflow reads this when it is imported, and writes a configuration there.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="trendmill-airflow-"))


@pytest.fixture(scope="session")
def factory() -> ModuleType:
    sys.path.insert(0, str(_DAGS))
    return importlib.import_module("trendmill_factory")
