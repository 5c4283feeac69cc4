"""Where the lake lies: in the home, in another folder, or in an object store, as the environment says."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import collect, maintain, validate
from pipeline.cycle import Home, open_cycle
from pipeline.feeds import FEEDS
from tests.conftest import AS_OF


@pytest.mark.parametrize(
    ("given", "root"),
    [
        (None, "{home}/lake/small"),
        ("", "{home}/lake/small"),
        ("elsewhere", "{here}/elsewhere/small"),
        ("/data/lake/", "/data/lake/small"),
        ("s3://bucket/lake/", "s3://bucket/lake/small"),
    ],
)
def test_the_root_is_the_homes_unless_the_environment_says_another(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, root: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if given is not None:
        monkeypatch.setenv("TRENDMILL_LAKE", given)
    lake = Home.from_environment().lake_of("small")
    assert lake.root == root.format(home=home.path, here=tmp_path)


@pytest.mark.slow
def test_nights_in_an_object_store_leave_what_nights_in_a_folder_leave(small_market, home, s3, tmp_path) -> None:
    file, known = small_market(), []
    for place in (home, Home(tmp_path / "other", f"{s3}/lake")):
        for day in (AS_OF - timedelta(days=1), AS_OF):
            cycle = open_cycle(file, day, place)
            for feed in ("sales", "catalogue"):
                collect.run(cycle, feed)
                validate.run(cycle, feed)
        maintain.run(cycle)
        facts = cycle.lake.as_of("sales", FEEDS["sales"].key, AS_OF)
        known.append(sorted(map(str, facts.to_pylist())))
        assert cycle.lake.tables() == ("batches", "facts/catalogue", "facts/sales", "quarantine")
    assert known[0] == known[1]
    assert not (tmp_path / "other" / "lake").exists()
