"""Parsing is done every half minute on every scheduler: it must be quick, and touch nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
MOST_SECONDS = 1.0
HEAVY = {"pipeline", "tensorflow", "keras", "pandas", "numpy", "mlflow", "sklearn", "statsmodels", "great_expectations"}

PARSE = """
import json, runpy, sys, time
import airflow.sdk, airflow.sdk.exceptions
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
began = time.process_time()
dags = [name for name in runpy.run_path(sys.argv[1] + "/daily_cycle.py") if name.startswith("daily_cycle__")]
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "dags": dags, "new": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    environment.pop("TRENDMILL_MARKETS", None)
    answer = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def test_the_dags_are_there(parsed):
    assert "daily_cycle__complete_journey" in parsed["dags"]


def test_parsing_takes_less_than_a_second_of_its_own(parsed):
    assert parsed["seconds"] < MOST_SECONDS


def test_parsing_imports_nothing_heavy(parsed):
    assert not HEAVY & {name.partition(".")[0] for name in parsed["new"]}


@pytest.mark.slow
def test_a_broken_market_is_an_import_error_in_a_file_of_its_own(tmp_path):
    (tmp_path / "broken.yaml").write_text("name: [", encoding="utf-8")
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "TRENDMILL_MARKETS": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "broken_markets.py"], cwd=DAGS, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode != 0
    assert "broken.yaml is no market" in answer.stderr.splitlines()[-1]
