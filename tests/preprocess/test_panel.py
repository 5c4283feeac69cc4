"""The panel: every fact at its place, nothing of tomorrow, equal after save and load."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import collect, preprocess, validate
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import StageError
from pipeline.preprocess import Panel
from tests.conftest import AS_OF, HISTORY_START, MarketWriter, small_market_frames

pytestmark = pytest.mark.slow


def preprocessed(cycle: Cycle) -> Panel:
    for feed in cycle.market.feeds:
        collect.run(cycle, feed)
        validate.run(cycle, feed)
    preprocess.run(cycle)
    return preprocess.load_panel(cycle)[0]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    from tests.conftest import write_small_market

    folder = tmp_path_factory.mktemp("panel")
    return preprocessed(open_cycle(write_small_market(folder / "market"), AS_OF, Home(folder / "home")))


def test_units_stand_at_their_series_and_day(panel: Panel) -> None:
    lines = small_market_frames()["sales"].drop_duplicates()
    good = lines[(lines["units"] > 0) & (lines["units"] <= 1000) & (lines["date"] <= AS_OF)]
    expected = good.pivot_table(index="sku", columns="date", values="units", aggfunc="sum", fill_value=0)
    days = [day.date() for day in pd.date_range(HISTORY_START, AS_OF)]
    expected = expected.reindex(columns=days, fill_value=0)
    assert list(panel.unique_id) == [f"{item}/all" for item in expected.index]
    np.testing.assert_array_equal(panel.y, expected.to_numpy())
    assert (panel.start, panel.last_day, panel.horizon) == (HISTORY_START, AS_OF, 14)


def test_series_is_observed_from_its_first_sale_on(panel: Panel) -> None:
    for row in range(len(panel.unique_id)):
        first = int(np.argmax(panel.y[row] > 0))
        assert not panel.observed[row, :first].any()
        assert panel.observed[row, first:].all()


def test_planned_promotions_reach_through_the_horizon(panel: Panel) -> None:
    plan = small_market_frames()["promotions"]
    depth = panel.known[:, :, panel.known_names.index("promotion_display")]
    for row in plan.itertuples():
        first = (row.start - HISTORY_START).days
        cell = depth[list(panel.unique_id).index(f"{row.item}/all"), first : first + 7]
        expected = 0.5 if row.start <= AS_OF + timedelta(days=14) else 0
        assert (cell == expected).all()
    assert depth[:, panel.y.shape[1] :].any()


def test_promotions_planned_less_far_than_the_horizon_are_known_only_afterwards(
    small_market: MarketWriter, home: Home
) -> None:
    late = preprocessed(open_cycle(small_market(plan_ahead_days=13), AS_OF, home))
    assert late.known_names == ()
    assert late.past_names == ("orders", "log_price", "price_ratio", "discount", "promotion_display")
    assert late.past[:, :, 4].any()


def test_price_is_compared_with_its_own_past_only(panel: Panel) -> None:
    """The small market's prices are planned further than its horizon, so they are known through it."""
    prices = small_market_frames()["prices"]
    reached = AS_OF + timedelta(days=14)
    mine = prices[(prices["item"] == "SKU07") & (prices["date"] <= reached)].set_index("date")["price"]
    expected = np.log(mine / mine.rolling(56, min_periods=1).mean())
    row = list(panel.unique_id).index("SKU07/all")
    found = panel.known[row, :, panel.known_names.index("price_ratio")]
    np.testing.assert_allclose(found, expected.to_numpy(), atol=1e-5)


def test_weekday_and_holiday_flags_are_those_of_the_calendar(panel: Panel) -> None:
    days = pd.date_range(HISTORY_START, AS_OF + timedelta(days=14))
    weekday = panel.shared[:, :7].argmax(axis=1)
    np.testing.assert_array_equal(weekday, days.day_of_week)
    holiday = panel.shared[:, panel.shared_names.index("public_holiday")].astype(bool)
    found = set(days[holiday].date)
    assert date(2021, 4, 2) in found
    assert date(2021, 4, 13) not in found
    before = panel.shared[:, panel.shared_names.index("before_public_holiday")]
    assert before[(date(2021, 4, 1) - HISTORY_START).days] == pytest.approx(13 / 14)


def test_hierarchy_is_coded(panel: Panel) -> None:
    department = panel.static_names.index("department")
    labels = [panel.static_levels[department][code] for code in panel.static[:, department]]
    assert labels == ["Home"] * 10 + ["Garden"] * 10


def test_panel_of_an_earlier_day_ends_there(panel: Panel) -> None:
    day = AS_OF - timedelta(days=20)
    earlier = panel.until(day)
    assert earlier.last_day == day
    assert earlier.known.shape[1] == earlier.shared.shape[0] == earlier.y.shape[1] + panel.horizon
    with pytest.raises(ValueError, match="is not a day of this panel"):
        panel.until(AS_OF + timedelta(days=1))


def test_saved_panel_is_equal_and_cannot_be_written_to(panel: Panel, tmp_path: Path) -> None:
    panel.save(tmp_path / "panel")
    again = Panel.load(tmp_path / "panel")
    assert again.fingerprint() == panel.fingerprint()
    with pytest.raises(ValueError, match="read-only"):
        again.y[0, 0] = 1


def test_shapes_that_disagree_are_refused(panel: Panel) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"Panel\.known has shape"):
        replace(panel, known=panel.known[:, :-1])


def test_panel_is_deaf_to_everything_after_its_day(small_market: MarketWriter, home: Home) -> None:
    file = small_market()
    honest = preprocessed(open_cycle(file, AS_OF, home)).fingerprint()
    for feed, last in (("sales", AS_OF), ("prices", AS_OF + timedelta(days=21))):  # prices are planned so far ahead
        path = next(file.parent.glob(f"{feed}.*"))
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        after = pd.to_datetime(frame["date"]).dt.date > last
        frame.loc[after, frame.select_dtypes("number").columns] = 777
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    elsewhere = Home(home.path.with_name("elsewhere"))
    assert preprocessed(open_cycle(file, AS_OF, elsewhere)).fingerprint() == honest


def test_stage_without_facts_says_which_are_missing(small_cycle: Cycle) -> None:
    with pytest.raises(StageError, match="has no facts/sales"):
        preprocess.run(small_cycle)
    with pytest.raises(StageError, match="has no panel yet"):
        preprocess.load_panel(small_cycle)


def test_second_run_leaves_the_snapshot_untouched(small_cycle: Cycle) -> None:
    preprocessed(small_cycle)
    files = {path: path.stat().st_mtime_ns for path in small_cycle.snapshot_dir.glob("*.npy")}
    assert preprocess.run(small_cycle).series == 20
    assert {path: path.stat().st_mtime_ns for path in small_cycle.snapshot_dir.glob("*.npy")} == files
