"""Both places where tables may lie."""

from pathlib import Path

import pytest

from pipeline.lake import Lake


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3")
    return Lake(f"{root}/lake/small")
