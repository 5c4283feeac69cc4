"""A real weekly source: rows dated by a week's first day, and gaps that are no zeros."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import collect, preprocess, validate
from pipeline.cycle import Home, open_cycle

FILE = Path(__file__).parents[1] / "markets" / "orange_juice.yaml"
DATA = Path(os.environ.get("TRENDMILL_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
SOURCE = DATA / "orange_juice_weekly.parquet"
AS_OF = date(1992, 10, 4)
"""The Sunday after the last week's first day."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCE.exists(), reason=f"{SOURCE.name} is not in TRENDMILL_SHARED_DATA ({DATA})"),
]


def test_weeks_that_a_store_does_not_report_are_unknown(tmp_path: Path, home: Home) -> None:
    settings = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for feed in settings["feeds"].values():
        feed["path"] = str(DATA / feed["path"])
    file = tmp_path / "orange_juice.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    cycle = open_cycle(file, AS_OF, home)
    for feed in cycle.market.feeds:
        collect.run(cycle, feed)
        assert validate.run(cycle, feed).quarantined == 0
    report = preprocess.run(cycle)
    panel, _ = preprocess.load_panel(cycle)

    rows = pd.read_parquet(SOURCE)
    week = (rows["week_start"] - pd.Timestamp(panel.start)).dt.days // 7
    series = rows["brand"].astype(str) + "/" + rows["store"].astype(str)
    expected = pd.DataFrame({"series": series, "week": week, "units": rows["units"]}).pivot(
        index="series", columns="week", values="units"
    )
    expected = expected.reindex(index=panel.unique_id, columns=range(panel.y.shape[1]))
    assert (report.series, report.frequency) == (913, "W")
    assert report.summary().endswith("913 series over 121 weeks.")
    np.testing.assert_array_equal(panel.observed, expected.notna())
    np.testing.assert_array_equal(panel.y, expected.fillna(0).to_numpy(np.float32))
    assert 0 < (~panel.observed).mean() < 0.2
    assert panel.past_names == ("log_price", "price_ratio", "discount")
