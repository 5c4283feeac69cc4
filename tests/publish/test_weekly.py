"""A weekly market from its files to its report, as `trendmill cycle` runs it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from pipeline.backtest import origins
from pipeline.cli import app
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.preprocess import load_panel
from pipeline.publish.export import export_forecasts
from tests.conftest import AS_OF, write_weekly_market

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cycle, Result]:
    """Return a weekly market's finished cycle, and what the terminal said."""
    folder = tmp_path_factory.mktemp("weekly")
    file = write_weekly_market(folder / "market")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRENDMILL_HOME", str(folder / "home"))
        told = CliRunner().invoke(app, ["cycle", str(file), "--date", str(AS_OF)])
    return open_cycle(file, AS_OF, Home(folder / "home")), told


def test_a_weekly_cycle_says_weeks(finished: tuple[Cycle, Result]) -> None:
    cycle, told = finished
    assert told.exit_code == 0, told.output
    assert "20 series over 27 weeks" in told.output
    assert "80 rows for 20 series, 4 weeks ahead" in told.output
    page = cycle.report_file.read_text(encoding="utf-8")
    for words in ("(4 weeks)", "Next 4 weeks", "Units a week", "units in 4 weeks", "a year, repeated"):
        assert words in page
    for words in ("days ahead", "Next 7 days", "Units a day", "units a day"):
        assert words not in page


def test_forecasts_are_of_whole_weeks(finished: tuple[Cycle, Result], tmp_path: Path) -> None:
    cycle, _ = finished
    out = tmp_path / "forecasts.parquet"
    assert export_forecasts(cycle.market, cycle.home, None, out) == (AS_OF, 80)
    rows = pd.read_parquet(out)
    one = rows[rows["unique_id"] == "SKU07/all"]
    assert one["ds"].tolist() == [AS_OF + timedelta(days=1 + 7 * week) for week in range(4)]
    assert one["lead"].tolist() == [1, 2, 3, 4]
    panel, _ = load_panel(cycle)
    usual = panel.y[:, -8:].mean()
    assert rows["mean"].mean() == pytest.approx(usual, rel=0.4)  # of weeks, and not of days


def test_origins_and_scores_are_of_weeks(finished: tuple[Cycle, Result]) -> None:
    cycle, _ = finished
    last = AS_OF - timedelta(weeks=4)
    assert origins(cycle) == [last - timedelta(weeks=1), last]
    backtest = cycle.lake.read("backtests", cycle=AS_OF, candidate="seasonal_naive").to_pandas()
    panel, _ = load_panel(cycle)
    first = backtest[backtest["origin"] == origins(cycle)[0]].sort_values(["unique_id", "lead"])
    np.testing.assert_array_equal(first["y"].to_numpy().reshape(20, 4), panel.y[:, 22:26])
    scores = cycle.lake.read("scores", cycle=AS_OF).to_pandas()
    naive = scores[(scores["candidate"] == "seasonal_naive") & scores["lead"].isna()].set_index("metric")["value"]
    assert 0.5 < naive["mase"] < 2  # a history shorter than a year is scaled by its week-to-week steps
    assert sorted(scores["lead"].dropna().unique()) == [1, 2, 3, 4]
