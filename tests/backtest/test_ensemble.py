"""A night with an ensemble: its weights, its calibration, its model, from the candidates' backtests."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import backtest, collect, evaluate, preprocess, publish, tracking, train, validate
from pipeline.backtest import past_forecasts
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, StageError
from pipeline.evaluate import promote
from pipeline.evaluate.metrics import coverage
from pipeline.market import load_market
from pipeline.models import Calibrated
from pipeline.models.ensemble import Ensemble, averaged_forward
from pipeline.preprocess import load_panel
from tests.conftest import AS_OF, MarketWriter, write_small_market

pytestmark = pytest.mark.slow

CANDIDATES = {
    "together": {"model": "ensemble"},
    "seasonal_naive": {"model": "seasonal_naive"},
    "trees": {"model": "lightgbm", "trees": 20},
    "category": {"model": "category_sarimax"},
}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """Return a finished cycle of three candidates and their ensemble, to be looked at only."""
    folder = tmp_path_factory.mktemp("together")
    backtests = {"origins": 3, "step": 7}
    file = write_small_market(folder / "market", candidates=CANDIDATES, backtest=backtests)
    cycle = open_cycle(file, AS_OF, Home(folder / "home"))
    for feed in cycle.market.feeds:
        collect.run(cycle, feed)
        validate.run(cycle, feed)
    preprocess.run(cycle)
    tracking.begin(cycle)
    for candidate in cycle.market.candidates_in_order:
        backtest.run(cycle, candidate)
        train.run(cycle, candidate)
    evaluate.run(cycle)
    promote.run(cycle)
    publish.run(cycle)
    return cycle


def test_an_ensemble_averages_every_candidate_but_the_baseline_and_comes_after_them(night: Cycle) -> None:
    assert night.market.candidates_in_order == ("seasonal_naive", "trees", "category", "together")
    assert set(night.market.candidates["together"].members) == {"trees", "category"}


def test_its_backtest_is_its_members_average_by_what_each_origin_knew(night: Cycle) -> None:
    panel, _ = load_panel(night)
    settings = night.market.candidates["together"]
    members = [past_forecasts(night, name, panel) for name in settings.members]
    own = past_forecasts(night, "together", panel)
    expected = averaged_forward(members, panel, settings.picks)
    np.testing.assert_allclose(own.quantiles, np.stack([one.quantiles for one in expected]), rtol=1e-6)
    first = np.mean([member.quantiles[0] for member in members], axis=0)
    np.testing.assert_allclose(own.quantiles[0], first, rtol=1e-5)


def test_it_scores_better_than_its_worst_member(night: Cycle) -> None:
    rows = night.lake.query("SELECT * FROM scores WHERE lead IS NULL AND metric = 'wql'", ["scores"]).to_pylist()
    wql = {row["candidate"]: row["value"] for row in rows}
    assert max(wql, key=wql.get) == "seasonal_naive"
    assert wql["together"] < wql["seasonal_naive"]


def test_the_registered_model_is_its_trained_members_and_forecasts_as_they_do(night: Cycle) -> None:
    panel, _ = load_panel(night)
    model = tracking.load_candidate(night, "together")
    assert isinstance(model, Calibrated)
    ensemble = model.forecaster
    assert isinstance(ensemble, Ensemble)
    assert sum(ensemble.weights.values()) == pytest.approx(1)
    parts = {name: tracking.load_candidate(night, name).forecaster for name in ensemble.weights}
    expected = sum(
        weight * parts[name].predict(panel, AS_OF, panel.horizon).quantiles for name, weight in ensemble.weights.items()
    )
    np.testing.assert_allclose(ensemble.predict(panel, AS_OF, panel.horizon).quantiles, expected, rtol=1e-5)
    run = tracking.client.connect(night).get_run(tracking.candidate_run(night, "together").run_id)
    logged = {name: value for name, value in run.data.metrics.items() if name.startswith("weight/")}
    assert logged == {f"weight/{name}": pytest.approx(weight) for name, weight in ensemble.weights.items()}


def test_every_model_is_logged_with_its_calibration(night: Cycle) -> None:
    panel, _ = load_panel(night)
    trees = tracking.load_candidate(night, "trees")
    assert (trees.calibration.factors != 1).any()
    raw = trees.forecaster.predict(panel, AS_OF, panel.horizon).quantiles
    assert not np.array_equal(trees.predict(panel, AS_OF, panel.horizon).quantiles, raw)


def test_the_first_origin_is_scored_without_calibration_and_later_ones_with_it(night: Cycle) -> None:
    rows = night.lake.read("backtests", cycle=AS_OF, candidate="trees").to_pandas()
    first = rows["origin"] == rows["origin"].min()
    np.testing.assert_allclose(rows.loc[first, "q0.9"], rows.loc[first, "raw0.9"], rtol=1e-6)
    assert not np.allclose(rows.loc[~first, "q0.9"], rows.loc[~first, "raw0.9"])
    assert 0 < coverage(rows["y"], rows["q0.1"].to_numpy(), rows["q0.9"].to_numpy()) < 1


def test_an_ensemble_without_its_members_backtests_says_so(night: Cycle, home: Home) -> None:
    cycle = Cycle(night.market, night.as_of, home)
    with pytest.raises(StageError, match="has no panel yet"):
        backtest.run(cycle, "together")


def test_unknown_members_are_named(small_market: MarketWriter) -> None:
    candidates = CANDIDATES | {"together": {"model": "ensemble", "members": ["trees", "forest"]}}
    with pytest.raises(ConfigError, match="has the member 'forest', but it can average only seasonal_naive, trees"):
        load_market(small_market(candidates=candidates))


def test_members_may_be_chosen(small_market: MarketWriter, tmp_path: Path) -> None:
    candidates = CANDIDATES | {"together": {"model": "ensemble", "members": ["trees", "category"]}}
    market = load_market(small_market(candidates=candidates))
    assert list(market.candidates["together"].members) == ["trees", "category"]
