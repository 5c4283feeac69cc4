"""A market's YAML: what is accepted, and the sentence for each mistake."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.market import load_market, markets_dir
from tests.conftest import MarketWriter


@pytest.mark.parametrize("file", sorted(markets_dir().glob("*.yaml")), ids=lambda file: file.stem)
def test_ready_markets_are_valid_and_named_like_their_file(file: Path) -> None:
    assert load_market(file.stem).name == file.stem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizn_days": 7}, ["'horizn_days'", "not a known key"]),
        ({"horizon": "a week"}, ["'horizon'", "'a week'", "integer"]),
        ({"horizon": 0}, ["'horizon'", "greater than 0"]),
        ({"timezone": "Mars/Olympus"}, ["Mars/Olympus", "Europe/London"]),
        ({"feeds": {"calendar": {"source": "holidays", "country": "GB"}}}, ["'sales' is required"]),
        ({"feeds": {"sales": {"source": "ftp"}}}, ["feeds.sales", "ftp"]),
        ({"candidates": {"trees": {"model": "lightgbm"}}}, ["seasonal_naive", "baseline"]),
        ({"candidates": {"n": {"model": "seasonal_naive", "sesaon": 7}}}, ["candidates.n", "sesaon"]),
        ({"schedule": {"at": 300}}, ["schedule.at", "300"]),
        ({"series": {"levels": ["colour"]}}, ["series.levels", "colour"]),
        ({"gate": {"feeds": {"sales": {"max_unit": 1}}}}, ["'gate.feeds.sales.max_unit'", "not a known key"]),
        ({"gate": {"feeds": {"prices": {"max_price": 0}}}}, ["gate.feeds.prices.max_price", "greater than 0"]),
    ],
)
def test_mistake_is_told_with_file_and_key(
    small_market: MarketWriter, changes: dict[str, Any], words: list[str]
) -> None:
    file = small_market(**changes)
    with pytest.raises(ConfigError) as caught:
        load_market(file)
    sentence = str(caught.value)
    assert str(file) in sentence
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_feed_is_judged_by_its_own_thresholds_and_for_the_rest_by_those_of_the_market(
    small_market: MarketWriter,
) -> None:
    gate = load_market(small_market(gate={"max_units": 7, "feeds": {"prices": {"max_price": 500}}})).gate
    assert (gate.of("prices").max_price, gate.of("prices").max_units) == (500, 7)
    assert (gate.of("sales").max_price, gate.of("sales").max_units) == (100_000, 7)


def test_missing_key_is_named(small_market: MarketWriter) -> None:
    file = small_market()
    file.write_text(file.read_text().replace("history_start", "history_begin"))
    with pytest.raises(ConfigError, match="'history_start' is missing"):
        load_market(file)


def test_missing_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        load_market(tmp_path / "absent.yaml")


def test_unknown_name_lists_the_ready_ones() -> None:
    with pytest.raises(ConfigError, match=r"no market 'atlantis'.*complete_journey"):
        load_market("atlantis")


@pytest.mark.parametrize("text", ["name: [unclosed", "just words", "- a\n- list"])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_market(file)


def test_a_market_without_candidates_has_the_usual_ones(small_market: MarketWriter) -> None:
    file = small_market()
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    del settings["candidates"]
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    market = load_market(file)
    assert list(market.candidates) == ["seasonal_naive", "ets", "lightgbm", "perceptron", "ensemble"]
    assert set(market.candidates["ensemble"].members) == {"ets", "lightgbm", "perceptron"}
    assert market.baseline == "seasonal_naive"
