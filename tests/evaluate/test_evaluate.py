"""Origins, backtest, verdict, champion, publication: on a small market that has come as far as its panel."""

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from pipeline import backtest, collect, evaluate, models, preprocess, publish, tracking, train, validate
from pipeline.backtest import origins
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, StageError
from pipeline.evaluate import promote
from pipeline.evaluate.metrics import weighted_quantile_loss
from pipeline.models.fitting import fitted
from pipeline.publish.export import export_forecasts
from pipeline.publish.summary import summarise
from pipeline.tracking.client import connect
from tests.conftest import AS_OF, MarketWriter, small_market_settings, write_small_market

pytestmark = pytest.mark.slow

CANDIDATES = {"seasonal_naive": {"model": "seasonal_naive"}, "trees": {"model": "lightgbm", "trees": 20}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """Return a cycle with two candidates whose panel is written; copy its home before changing it."""
    folder = tmp_path_factory.mktemp("prepared")
    file = write_small_market(folder / "market", candidates=CANDIDATES)
    cycle = open_cycle(file, AS_OF, Home(folder / "home"))
    _prepare(cycle)
    _client(cycle).search_experiments()  # makes MLflow's database, which takes longer than copying it
    return cycle


@pytest.fixture
def cycle(prepared: Cycle, home: Home) -> Cycle:
    """Return a cycle of its own that has come as far as its panel."""
    shutil.copytree(prepared.home.path, home.path)
    return Cycle(prepared.market, prepared.as_of, home)


@pytest.fixture(scope="module")
def finished(prepared: Cycle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cycle, publish.PublishReport]:
    """Return a finished cycle, to be looked at only, and what its last stage reported."""
    home = Home(tmp_path_factory.mktemp("finished") / "home")
    shutil.copytree(prepared.home.path, home.path)
    cycle = Cycle(prepared.market, prepared.as_of, home)
    return cycle, _night(cycle)


@pytest.fixture(scope="module")
def night(finished: tuple[Cycle, publish.PublishReport]) -> Cycle:
    """Return a finished cycle, to be looked at only."""
    return finished[0]


def _prepare(cycle: Cycle) -> None:
    for feed in cycle.market.feeds:
        collect.run(cycle, feed)
        validate.run(cycle, feed)
    preprocess.run(cycle)


def _night(cycle: Cycle) -> publish.PublishReport:
    tracking.begin(cycle)
    for candidate in cycle.market.candidates_in_order:
        backtest.run(cycle, candidate)
        train.run(cycle, candidate)
    evaluate.run(cycle)
    promote.run(cycle)
    published = publish.run(cycle)
    tracking.close(cycle, succeeded=True)
    return published


def _client(cycle: Cycle) -> MlflowClient:
    return connect(cycle)


def test_origins_step_back_from_one_horizon_before_the_day(night: Cycle) -> None:
    last = AS_OF - timedelta(days=14)
    assert origins(night) == [last - timedelta(days=7), last]


def test_history_too_short_for_the_backtest_names_the_first_day_that_works(night: Cycle) -> None:
    early = Cycle(night.market, night.market.history_start + timedelta(days=40), night.home)
    with pytest.raises(ConfigError, match="give a date from 2021-03-21 on"):
        origins(early)
    assert origins(Cycle(night.market, pd.Timestamp("2021-03-21").date(), night.home))


def test_night_publishes_the_better_candidate_and_registers_it(finished: tuple[Cycle, publish.PublishReport]) -> None:
    cycle, published = finished
    verdict = cycle.lake.read("verdicts").to_pylist()[0]
    assert published.candidate == verdict["winner"] == "trees"
    assert verdict["wql"] < verdict["baseline_wql"]
    rows = cycle.lake.read("forecasts", cycle=AS_OF).to_pandas()
    assert len(rows) == published.rows == 20 * 14
    assert set(rows["ds"]) == {AS_OF + timedelta(days=lead) for lead in range(1, 15)}
    quantiles = rows.filter(regex=r"^q0\.").to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (quantiles >= 0).all()
    champion = _client(cycle).get_model_version_by_alias("small", "champion")
    assert int(champion.version) == published.version
    assert champion.tags["trendmill.candidate"] == "trees"


def test_score_is_what_the_committed_backtest_says(night: Cycle) -> None:
    verdict = night.lake.read("verdicts").to_pylist()[0]
    rows = night.lake.read("backtests", cycle=AS_OF, candidate=verdict["winner"]).to_pandas()
    assert len(rows) == 20 * 14 * 2
    by_hand = weighted_quantile_loss(rows["y"].to_numpy(), rows.filter(regex=r"^q0\.").to_numpy(), models.QUANTILES)
    assert verdict["wql"] == pytest.approx(by_hand)
    one_lead = night.lake.query("SELECT value FROM scores WHERE lead = 3 AND metric = 'mae'", ["scores"])
    assert one_lead.num_rows == len(CANDIDATES)


def test_second_night_changes_no_table_and_opens_no_run(night: Cycle) -> None:
    tables = ("backtests", "scores", "verdicts", "champions", "forecasts")
    versions = {table: night.lake.version(table) for table in tables}
    runs = len(_client(night).search_runs(["1"]))
    _night(night)
    assert {table: night.lake.version(table) for table in tables} == versions
    assert len(_client(night).search_runs(["1"])) == runs == 1 + len(CANDIDATES)
    assert len(_client(night).search_model_versions("name = 'small'")) == 1


def test_mlflow_keeps_parameters_inputs_curves_and_models_of_a_candidate(night: Cycle) -> None:
    run = _client(night).get_run(tracking.candidate_run(night, "trees").run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["trees"] == "20"
    assert run.data.params["seed"] == str(night.seed)
    assert run.data.tags["input.facts/sales"] == str(night.lake.version("facts/sales"))
    read = {found.dataset.name: found.dataset.digest for found in run.inputs.dataset_inputs}
    assert read["facts/promotions"] == f"version {night.lake.version('facts/promotions')}"
    assert run.data.tags["input.panel"] == preprocess.load_panel(night)[0].fingerprint()
    assert run.data.metrics["wql"] == pytest.approx(night.lake.read("verdicts").to_pylist()[0]["wql"])
    leads = _client(night).get_metric_history(run.info.run_id, "by_lead/wql")
    assert [point.step for point in leads] == list(range(1, 15))
    parent = _client(night).get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == str(AS_OF)
    assert parent.data.params == {}


def test_registered_version_forecasts_what_was_published(night: Cycle) -> None:
    import mlflow

    published = night.lake.read("champions").to_pylist()[0]
    connect(night)
    served = mlflow.pyfunc.load_model(f"models:/small/{published['version']}")
    found = served.predict(pd.DataFrame({"panel": [str(night.snapshot_dir)], "origin": [str(AS_OF)]}))
    archived = night.lake.read("forecasts", cycle=AS_OF).to_pandas()[found.columns]
    keys = ["unique_id", "ds"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys).reset_index(drop=True), archived.sort_values(keys).reset_index(drop=True)
    )


def test_older_cycle_publishes_its_vintage_but_never_moves_the_champion(cycle: Cycle) -> None:
    baseline = {"seasonal_naive": cycle.market.candidates["seasonal_naive"]}
    cycle = Cycle(cycle.market.model_copy(update={"candidates": baseline}), AS_OF, cycle.home)
    newest = _night(cycle)
    older = Cycle(cycle.market, AS_OF - timedelta(days=7), cycle.home)
    _prepare(older)
    published = _night(older)
    champion = _client(cycle).get_model_version_by_alias("small", "champion")
    assert int(champion.version) == newest.version != published.version
    ledger = {row["cycle"]: row["promoted"] for row in cycle.lake.read("champions").to_pylist()}
    assert ledger == {older.as_of: False, AS_OF: True}
    assert set(cycle.lake.read("forecasts")["cycle"].to_pylist()) == {older.as_of, AS_OF}
    tomorrow = Cycle(cycle.market, AS_OF + timedelta(days=1), cycle.home)
    _prepare(tomorrow)
    following = _night(tomorrow)
    assert int(_client(cycle).get_model_version_by_alias("small", "champion").version) == following.version
    assert int(_client(cycle).get_model_version_by_alias("small", "previous").version) == newest.version


def test_candidate_that_is_trained_again_to_another_model_is_stored_beside_the_first(cycle: Cycle) -> None:
    tracking.begin(cycle)
    backtest.run(cycle, "trees")
    first = train.run(cycle, "trees").model_uri
    assert train.run(cycle, "trees").model_uri == first
    panel, _ = preprocess.load_panel(cycle)
    other, _ = fitted(cycle.market.candidate("trees"), cycle.seed, panel.until(AS_OF - timedelta(days=1)))
    record = tracking.candidate_run(cycle, "trees")
    for seconds in (1.0, 2.0):
        record.log_metrics({"train/seconds": seconds})
    assert record.log_forecaster(other) == record.model_uri() != first


def test_candidate_without_a_finite_loss_never_wins(cycle: Cycle) -> None:
    tracking.begin(cycle)
    for candidate in cycle.market.candidates:
        backtest.run(cycle, candidate)
    rows = cycle.lake.read("backtests", cycle=AS_OF, candidate="trees")
    broken = rows.set_column(rows.column_names.index("q0.5"), "q0.5", pa.array([float("nan")] * rows.num_rows, "float"))
    cycle.lake.attempt("backtests", cycle=AS_OF, candidate="trees").commit(broken)
    assert evaluate.run(cycle).winner == "seasonal_naive"


def test_changed_settings_start_a_fresh_run(cycle: Cycle, small_market: MarketWriter) -> None:
    tracking.begin(cycle)
    first = tracking.candidate_run(cycle, "trees").run_id
    file = small_market(candidates=CANDIDATES | {"trees": {"model": "lightgbm", "trees": 30}})
    changed = open_cycle(file, AS_OF, cycle.home)
    tracking.begin(changed)
    assert tracking.candidate_run(changed, "trees").run_id != first
    assert tracking.candidate_run(changed, "seasonal_naive").run_id


def test_stages_out_of_order_say_which_comes_first(cycle: Cycle) -> None:
    with pytest.raises(StageError, match="no registered winner"):
        publish.run(cycle)
    with pytest.raises(StageError, match="no verdict"):
        promote.run(cycle)
    with pytest.raises(StageError, match="begin the cycle first"):
        backtest.run(cycle, "trees")
    tracking.begin(cycle)
    with pytest.raises(StageError, match=r"'trees' of .* has no backtest"):
        train.run(cycle, "trees")
    with pytest.raises(StageError, match=r"'seasonal_naive' of .* has no backtest"):
        evaluate.run(cycle)
    with pytest.raises(ConfigError, match="no candidate 'forest'"):
        train.run(cycle, "forest")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_vintage_is_exported_by_the_files_ending(night: Cycle, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"forecasts.{ending}"
    assert export_forecasts(night.market, night.home, None, out) == (AS_OF, 280)
    rows = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert list(rows.columns) == [
        "unique_id",
        "ds",
        "origin",
        "lead",
        "mean",
        *(f"q0.{level}" for level in range(1, 10)),
    ]
    assert len(rows) == 280
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(ending)] == [out.name]


def test_export_of_what_is_not_there_is_told(cycle: Cycle, night: Cycle, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no published forecasts"):
        export_forecasts(cycle.market, cycle.home, None, tmp_path / "x.csv")
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.parquet"):
        export_forecasts(cycle.market, cycle.home, None, tmp_path / "x.xlsx")
    with pytest.raises(StageError, match=r"of 2020-01-01 .*vintages there: 2021-07-11"):
        export_forecasts(night.market, night.home, pd.Timestamp("2020-01-01").date(), tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="cannot be written"):
        export_forecasts(night.market, night.home, None, tmp_path / "nowhere" / "x.csv")


def test_summary_tells_what_a_person_asks(night: Cycle) -> None:
    summary = summarise(night)
    text = "\n".join(summary.sentences())
    assert "Winner: trees, version 1, champion" in text
    assert "280 rows for 20 series, 14 days ahead" in text
    assert "more than 10,000 units in one line" in text
    assert "make ui" in text
    assert [line.candidate for line in summary.leaderboard] == ["trees", "seasonal_naive"]
    assert small_market_settings()["horizon"] == summary.horizon
