"""Market files from outside the folder stay known to the home that they ran in."""

import os
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.engine import night
from pipeline.engine.errors import EngineError
from pipeline.engine.markets import market_files, note_market


@pytest.fixture
def market(tmp_path):
    def make(name: str, folder: str = "shops"):
        file = tmp_path / folder / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        return SimpleNamespace(name=name, file=file)

    return make


def files(value: str) -> list[Path]:
    return [Path(file) for file in value.split(os.pathsep) if file]


def test_what_ran_is_noted_and_the_wanted_market_comes_first(home, market):
    assert market_files(home) == ""
    first, second = market("first"), market("second")
    note_market(home, first)
    note_market(home, second)
    assert files(market_files(home)) == [first.file, second.file]
    assert files(market_files(home, second)) == [second.file, first.file]


def test_a_name_belongs_to_the_file_that_ran_last(home, market, tmp_path, monkeypatch):
    monkeypatch.setenv("TRENDMILL_MARKETS", str(tmp_path / "ready"))
    old, new, ready = market("shop", "old"), market("shop", "new"), market("shop", "ready")
    note_market(home, old)
    note_market(home, new)
    assert files(market_files(home)) == [new.file]
    assert files(market_files(home, old)) == [old.file]
    note_market(home, ready)
    assert market_files(home) == "", "a file of the folder needs no note, and nothing may hide it"


def test_a_file_that_is_gone_and_a_note_that_cannot_be_read_are_no_news(home, market):
    gone, stays = market("gone"), market("stays")
    note_market(home, gone)
    note_market(home, stays)
    gone.file.unlink()
    assert files(market_files(home)) == [stays.file]
    for text in ("{", "[]", '{"shop": 1}'):
        (home.airflow / "markets.json").write_text(text)
        assert market_files(home) == ""


def test_a_path_that_cannot_be_handed_on_is_a_sentence(home, market):
    with pytest.raises(EngineError, match=r"holds a ':', which separates paths; rename"):
        market_files(home, market("a:b"))


def test_a_night_notes_its_market(home, small_market, monkeypatch):
    class ParsedEngine:
        def __init__(self, _home, *, extra, **_):
            self.extra = extra

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait_until_parsed(self, dag_id, market_file):
            assert (dag_id, str(market_file)) == ("daily_cycle__small", self.extra["TRENDMILL_MARKET_FILES"])

        @property
        def api(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(night, "Engine", ParsedEngine)
    file = small_market()
    with pytest.raises(KeyboardInterrupt):
        night.run_night(file, date(2021, 7, 11), home, Console(quiet=True))
    assert files(market_files(home)) == [file]
