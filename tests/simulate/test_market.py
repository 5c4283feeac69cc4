"""A simulated market as a market: it is collected and let through the gate like any other, and can be written down."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import collect, validate
from pipeline.cli import app
from pipeline.cycle import Home, open_cycle
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import FEEDS
from pipeline.market import load_market
from pipeline.simulate import truth
from tests.simulate.conftest import SimulatedMarket

AS_OF = date(2022, 11, 20)


@pytest.mark.slow
@pytest.mark.parametrize("grain", ["lines", "facts"])
def test_every_feed_is_collected_and_let_through_the_gate(simulated_market: SimulatedMarket, home: Home, grain) -> None:
    cycle = open_cycle(simulated_market(grain=grain), AS_OF, home)
    hidden = truth(cycle.market.simulator)
    for feed in cycle.market.feeds:
        landed = collect.run(cycle, feed)
        passed = validate.run(cycle, feed)
        assert landed.rows == passed.landed == passed.accepted + passed.quarantined + passed.duplicates
        dirt = hidden.dirt(feed, collect.landed(cycle, feed).grain, cycle.market.history_start, AS_OF, AS_OF)
        # An item that nobody knows breaks no rule of a row.
        assert passed.duplicates == dirt.get("duplicate", 0)
        assert passed.quarantined == sum(dirt.values()) - dirt.get("duplicate", 0) - dirt.get("unknown_item", 0)


@pytest.mark.slow
def test_what_arrives_late_is_learnt_by_the_next_nights(simulated_market: SimulatedMarket, home: Home) -> None:
    file = simulated_market(world={"dirty_share": 0.0})
    key = FEEDS["sales"].key
    for shift in (0, 20):
        cycle = open_cycle(file, AS_OF + timedelta(days=shift), home)
        collect.run(cycle, "sales")
        validate.run(cycle, "sales")
    early, late = (cycle.lake.as_of("sales", key, AS_OF + timedelta(days=shift)).to_pylist() for shift in (0, 20))
    hidden = truth(cycle.market.simulator)
    of_the_day = [
        sum(row["units"] for row in rows if row["date"] == AS_OF - timedelta(days=1)) for rows in (early, late)
    ]
    sold = hidden.sold[(AS_OF - hidden.settings.start).days - 1].sum()
    assert of_the_day[0] != of_the_day[1] == sold


def test_world_without_visitors_has_no_behaviour(simulated_market: SimulatedMarket, home: Home) -> None:
    cycle = open_cycle(simulated_market(world={"events": False}), AS_OF, home)
    with pytest.raises(SourceError, match=r"simulates no visitors; set simulator\.events to true"):
        collect.run(cycle, "behaviour")


def test_unknown_country_is_named(simulated_market: SimulatedMarket, home: Home) -> None:
    cycle = open_cycle(simulated_market(world={"countries": ["XX"]}), AS_OF, home)
    with pytest.raises(SourceError, match=r"knows no country 'XX'; mend simulator\.countries"):
        collect.run(cycle, "calendar")


def test_broken_world_is_refused_with_the_file_and_the_key(simulated_market: SimulatedMarket) -> None:
    with pytest.raises(ConfigError, match=r"tiny_world\.yaml: 'simulator\.items' is 0"):
        load_market(simulated_market(world={"items": 0}))


def test_ready_market_has_every_feed_and_names_its_regions() -> None:
    market = load_market("simulated")
    assert set(market.feeds) == set(FEEDS)
    assert market.regions == {"north": ("store_1",), "south": ("store_2",)}
    assert market.simulator.start <= market.history_start <= market.simulator.end


@pytest.mark.slow
def test_simulate_writes_the_feeds_and_the_truth_and_overwrites_nothing(
    simulated_market: SimulatedMarket, tmp_path: Path
) -> None:
    file, out = simulated_market(), tmp_path / "out"
    command = ["simulate", str(file), "--since", "2022-10-20", "--until", "2022-11-12", "--out", str(out), "--truth"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (out / "sales").iterdir()) == ["2022-10.parquet", "2022-11.parquet"]
    assert {path.stem for path in out.iterdir()} == {*FEEDS, "truth"}
    daily = pq.read_table(out / "truth" / "daily")
    hidden = truth(load_market(file).simulator)
    since = (date(2022, 10, 20) - hidden.settings.start).days
    assert sum(daily["demand"].to_pylist()) == hidden.demand[since : since + 24].sum()
    assert {"elasticities.parquet", "uplifts.parquet", "festivals.parquet"} <= {
        p.name for p in (out / "truth").iterdir()
    }
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, ConfigError)
    assert "nothing is overwritten" in str(again.exception)


def test_simulate_refuses_days_outside_the_world_and_markets_without_one(
    simulated_market: SimulatedMarket, tmp_path: Path
) -> None:
    days = ["--since", "2021-01-01", "--until", "2022-10-01", "--out", str(tmp_path / "out")]
    outside = CliRunner().invoke(app, ["simulate", str(simulated_market()), *days])
    assert "world lasts from 2022-09-01 to 2023-03-19" in str(outside.exception)
    real = CliRunner().invoke(app, ["simulate", "complete_journey", *days])
    assert "No feed of the market 'complete_journey' has 'source: simulator'" in str(real.exception)
    assert not (tmp_path / "out").exists()
