"""The examples of docs/lake.md are run as they stand there."""

import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.cycle import Home
from pipeline.feeds import FEEDS
from tests.conftest import AS_OF

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lake.md"
_FENCED = re.compile(r"^```(python.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = dict(enumerate(_FENCED.findall(PAGE.read_text(encoding="utf-8"))))


@pytest.fixture(autouse=True)
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRENDMILL_HOME")
    monkeypatch.chdir(tmp_path)
    lake = Home.from_environment().lake_of("small")
    row = {"item": "a", "location": "all", "units": 1.0, "known_on": AS_OF, "deleted": False}
    days = [row | {"date": AS_OF - timedelta(days=shift)} for shift in range(30)]
    schema = pa.schema([("known_on", pa.date32()), *FEEDS["sales"].schema, ("deleted", pa.bool_())])
    lake.attempt("facts/sales", cycle=AS_OF).commit(pa.Table.from_pylist(days, schema=nullable(schema)))
    lake.attempt("batches", cycle=AS_OF, feed="sales").commit(pa.table({"landed": [30]}))


def nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([column.with_nullable(nullable=True) for column in schema])


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=pytest.mark.slow if "spark" in kind else ()) for number, (kind, _) in EXAMPLES.items()],
)
def test_example_runs(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    kind, code = EXAMPLES[number]
    found: dict = {}
    exec(compile(code, f"{PAGE.name} {kind} {number}", "exec"), found)  # noqa: S102 - our own page
    said = capfd.readouterr().out
    if "last_fortnight" in found:
        assert (found["known"].num_rows, found["last_fortnight"].num_rows) == (30, 14)
    else:
        assert "30" in said or said.count(" a ") > 10
    if "spark" in found:
        found["spark"].stop()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 4
