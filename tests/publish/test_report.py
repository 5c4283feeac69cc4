"""The report: what it says is what the lake holds, and it says it in one file that needs nothing else."""

import re
import shutil
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import backtest, collect, evaluate, preprocess, publish, tracking, train, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import StageError
from pipeline.evaluate import promote
from pipeline.publish.report import charts, run
from pipeline.publish.report.content import Content, Fan, History, Mover, OriginTotal, Period, gather
from pipeline.publish.report.page import _share, render
from pipeline.publish.report.report import _write
from pipeline.tracking.client import connect
from tests.conftest import AS_OF, HISTORY_START, small_market_settings, write_small_market

pytestmark = pytest.mark.slow

EVIL = "<script>alert('$y_1$')</script> & \"Søn\""
"""A title as a catalogue might hold it."""
VOID = {"meta", "link"}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """Return a published cycle of the small market, with two candidates and an evil catalogue."""
    folder = tmp_path_factory.mktemp("night")
    candidates = {"naive": {"model": "seasonal_naive"}, "two": {"model": "seasonal_naive", "season_periods": 14}}
    file = write_small_market(folder / "market", candidates=candidates, about="Sells <i>things</i>")
    catalogue = folder / "market" / "catalogue.parquet"
    pd.read_parquet(catalogue).assign(title=EVIL).to_parquet(catalogue, index=False)
    return _published(open_cycle(file, AS_OF, Home(folder / "home")))


@pytest.fixture(scope="module")
def bare_night(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """Return a published cycle of a market with three items, one candidate, and no feed but sales."""
    folder = tmp_path_factory.mktemp("bare")
    file = write_small_market(
        folder / "market",
        feeds={"sales": small_market_settings()["feeds"]["sales"]},
        series={"top": 3},
        backtest={"origins": 1},
        candidates={"seasonal_naive": {"model": "seasonal_naive"}},
    )
    return _published(open_cycle(file, AS_OF, Home(folder / "home")))


@pytest.fixture(scope="module")
def content(night: Cycle) -> Content:
    return gather(night)


@pytest.fixture(scope="module")
def page(content: Content) -> str:
    return render(content)


def _published(cycle: Cycle) -> Cycle:
    tracking.begin(cycle)
    for feed in cycle.market.feeds:
        collect.run(cycle, feed)
        validate.run(cycle, feed)
    preprocess.run(cycle)
    for candidate in cycle.market.candidates:
        backtest.run(cycle, candidate)
        train.run(cycle, candidate)
    evaluate.run(cycle)
    promote.run(cycle)
    publish.run(cycle)
    return cycle


class _Outline(HTMLParser):
    """What a page is made of: its tags in balance, its ids, its words, and everything that it points to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def _note(self, attributes: dict[str, str | None]) -> None:
        if attributes.get("id"):
            self.ids[str(attributes["id"])] += 1
        self.links += [str(attributes[name]) for name in ("src", "href", "xlink:href", "data") if name in attributes]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    links = _Outline(page).links
    assert [link for link in links if not link.startswith(("#", "data:,", "../../data_docs/"))] == []
    assert not re.search(r"https?:|@import|<script", page)
    assert len(page.encode()) < 1_500_000


def test_the_page_is_well_formed_and_its_ids_are_its_own(page: str) -> None:
    outline = _Outline(page)
    assert outline.open == []
    assert [name for name, count in outline.ids.items() if count > 1] == []
    inside = {link[1:] for link in outline.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert {"movers", "data"} <= inside <= set(outline.ids)


def test_words_from_the_data_stay_words(page: str) -> None:
    text = _Outline(page).text
    assert EVIL in text
    assert "Sells <i>things</i>" in text
    assert "naive" in text
    assert "two" in text


def test_the_same_cycle_gives_the_same_file_and_leaves_nothing_beside_it(night: Cycle) -> None:
    first, before = run(night), night.report_file.read_bytes()
    second = run(night)
    assert first == second
    assert night.report_file.read_bytes() == before
    assert [path.name for path in night.report_file.parent.iterdir()] == [f"{AS_OF}.html"]
    assert first.file == str(night.report_file)
    assert f"{AS_OF}.html (" in first.summary()


def test_the_page_is_an_artifact_of_the_cycles_run(night: Cycle) -> None:
    run_id = run(night).mlflow_run_id
    client = connect(night)
    assert client.get_run(run_id).data.tags["trendmill.cycle"] == night.key
    assert f"{AS_OF}.html" in [artifact.path for artifact in client.list_artifacts(run_id)]


def test_the_comparison_is_of_the_same_series_and_as_many_days(night: Cycle, content: Content) -> None:
    forecasts = night.lake.read("forecasts", cycle=AS_OF).to_pandas()
    sold = night.lake.as_of("sales", ("item", "location", "date"), AS_OF).to_pandas()
    sold = sold[(sold["item"] + "/" + sold["location"]).isin(forecasts["unique_id"])]
    assert [period.length for period in content.periods] == [7, 14]
    for period in content.periods:
        past = sold[pd.to_datetime(sold["date"]) > pd.Timestamp(AS_OF - timedelta(days=period.length))]
        assert period.behind == pytest.approx(past["units"].sum())
        assert period.ahead == pytest.approx(forecasts.loc[forecasts["lead"] <= period.length, "mean"].sum(), rel=1e-5)
        assert period.share == pytest.approx(period.ahead / period.behind - 1)


def test_movers_are_those_that_change_most(night: Cycle, content: Content) -> None:
    panel, _ = preprocess.load_panel(night)
    ahead = night.lake.read("forecasts", cycle=AS_OF).to_pandas().groupby("unique_id")["mean"].sum()
    change = (ahead - pd.Series(panel.y[:, -14:].sum(axis=1), panel.unique_id)).sort_values(ascending=False)
    movers = (*content.risers, *content.fallers)
    most = [*change[change > 0][:6], *change[change < 0][::-1][:6]]
    assert [mover.period.units for mover in movers] == pytest.approx(most, rel=1e-4)
    assert [change[mover.unique_id] for mover in movers] == pytest.approx(most, rel=1e-4)
    assert all(mover.title == EVIL and " > Category" in mover.shelf for mover in movers)
    assert any(mover.promotions.any() for mover in movers)


def test_reliability_and_origins_are_the_backtests(night: Cycle, content: Content) -> None:
    rows = night.lake.read("backtests", cycle=AS_OF, candidate=content.night.winner).to_pandas().dropna(subset="y")
    assert content.reliability.rows == len(rows)
    assert content.reliability.below[0] == pytest.approx((rows["y"] < rows["q0.1"]).mean())
    assert content.reliability.at_or_below[8] == pytest.approx((rows["y"] <= rows["q0.9"]).mean())
    totals = rows.groupby("origin")[["y", "mean"]].sum()
    assert [part.origin for part in content.origins] == list(totals.index)
    assert [part.error for part in content.origins] == pytest.approx(list(totals["mean"] / totals["y"] - 1), rel=1e-5)


def test_scores_stand_in_order_with_the_best_marked(page: str, content: Content) -> None:
    losses = [line.overall["wql"] for line in content.scores]
    assert losses == sorted(losses)
    assert content.scores[0].candidate == content.night.winner
    assert all(np.isfinite(line.wql_by_lead).all() for line in content.scores)
    assert f'<td class="number best">{losses[0]:.4f}</td>' in page


def test_the_ledger_and_the_quarantine_are_told(page: str, content: Content, night: Cycle) -> None:
    assert "no units were sold" in _Outline(page).text
    assert all(line.balanced for line in content.feeds)
    sales = next(line for line in content.feeds if line.batch.feed == "sales")
    assert (sales.batch.quarantined, sales.batch.duplicates) == (2, 1)
    assert (sales.first, sales.last, sales.series) == (HISTORY_START, AS_OF, 20)
    assert sales.docs is not None
    assert (night.report_file.parent / sales.docs).resolve().is_file()


def test_provenance_names_code_panel_tables_and_seed(content: Content, night: Cycle) -> None:
    assert content.provenance["Panel"] == preprocess.load_panel(night)[0].fingerprint()
    assert content.provenance["Seed"] == str(night.seed)
    assert content.provenance["Table facts/sales"].startswith("version ")
    assert {"Trendmill", "Commit"} <= content.provenance.keys()


def test_a_bare_market_has_a_page_too(bare_night: Cycle) -> None:
    page = Path(run(bare_night).file).read_text(encoding="utf-8")
    text = _Outline(page).text
    assert "is this market’s only candidate" in text
    assert "Not connected in this market: behaviour, stock, prices, promotions, catalogue, market, calendar." in text
    assert "3 of 3" in text
    assert "promotion (height" not in text
    assert "public holiday" not in text
    assert 'class="number best"' not in page


def test_a_cycle_without_forecasts_gets_one_sentence_and_no_file(night: Cycle) -> None:
    later = replace(night, as_of=AS_OF + timedelta(days=1))
    with pytest.raises(StageError, match="has no panel yet"):
        run(later)
    shutil.copytree(night.snapshot_dir, later.snapshot_dir)
    with pytest.raises(StageError, match="has no published forecasts yet; run 'trendmill publish'"):
        run(later)
    assert not later.report_file.exists()


def test_a_panel_rebuilt_after_publishing_is_refused(night: Cycle, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, inputs = preprocess.load_panel(night)
    monkeypatch.setattr("pipeline.publish.report.content.load_panel", lambda _: (panel.take(range(5)), inputs))
    with pytest.raises(StageError, match="was rebuilt since its forecasts were published"):
        gather(night)


def test_a_write_that_fails_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pages" / "page.html"
    file.parent.mkdir()
    file.write_text("old", encoding="utf-8")

    def fill_the_disk(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        _write(file, b"new")
    assert [(path.name, path.read_text(encoding="utf-8")) for path in file.parent.iterdir()] == [("page.html", "old")]


def test_a_single_day_ahead_can_be_seen() -> None:
    days = np.datetime64("2021-07-01") + np.arange(10)
    fan = Fan(days[-1:] + 1, np.array([3.0]), np.linspace(1, 5, 9)[None])
    history = History(days, np.arange(10.0))
    mover = Mover("a/all", "A", "", Period(1, 3, 2), history, fan, np.zeros(11), 1)
    drawn = charts.mover_fan(mover, axis=charts.Axis(1), has_promotions=False)
    median = re.search(r'd="M ([\d.]+) [\d.]+ L ([\d.]+) [\d.]+ ?"[^>]*stroke: var\(--forecast\)', drawn)
    assert median is not None
    assert float(median[2]) > float(median[1]) + 1


def test_charts_carry_no_colour_font_or_size_of_their_own() -> None:
    days = np.datetime64("2021-07-01") + np.arange(14)
    part = OriginTotal(days[0].item(), History(days, np.full(14, np.nan)), np.full(14, np.nan))
    drawn = charts.origin_total(part, 1, charts.Axis(1)).narrow
    assert part.error is None
    assert drawn.startswith('<svg viewBox="0 0 344 168"')
    assert not re.search(r"#[0-9a-f]{6}|font-family|xmlns|<metadata", drawn)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.1234, ".1%", "12.3\u202f%"),
        (-0.1234, "+.1%", "−12.3\u202f%"),
        (-0.0001, "+.1%", "+0.0\u202f%"),
        (float("nan"), ".4f", "–"),
        (None, ".1%", "–"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, form: str, text: str) -> None:
    assert _share(value, form) == text
