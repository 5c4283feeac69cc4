"""The plugin is loaded as Airflow loads it: from `plugins/`, with an AIRFLOW_HOME of the tests' own."""

import importlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

_PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
# Airflow reads this when it is imported, and writes a configuration there.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="trendmill-airflow-"))


@pytest.fixture(scope="session")
def plugin() -> ModuleType:
    sys.path.insert(0, str(_PLUGINS))
    return importlib.import_module("trendmill_plugin")
