"""Privacy: who bought and who clicked never passes the landing zone, whatever goes wrong on the way."""

import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline import collect, validate
from pipeline.cli import main
from pipeline.cycle import Home, open_cycle
from pipeline.errors import TrendmillError
from pipeline.feeds import FEEDS
from tests.conftest import HISTORY_START
from tests.privacy import (
    PERSON,
    click_events,
    customer,
    files_outside_landing,
    order_lines,
    places_with,
    with_dirt,
    write_shop,
)

pytestmark = pytest.mark.slow

DAY = HISTORY_START + timedelta(days=40)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_shop(tmp_path / "shop", *with_dirt(order_lines(DAY), click_events(DAY)))


def run_all(monkeypatch: pytest.MonkeyPatch, *commands: tuple[object, ...]) -> None:
    for words in commands:
        monkeypatch.setattr(sys, "argv", ["trendmill", *map(str, words)])
        with pytest.raises(SystemExit):
            main()


def test_no_person_is_found_outside_the_landing_zone_nor_on_the_terminal(
    shop: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    day = ("--date", DAY)
    run_all(
        monkeypatch,
        ("collect", shop, *day),
        ("validate", shop, *day),
        ("quarantine", "list", shop, "--limit", "100"),
        ("quarantine", "list", shop, "--json", "--limit", "100"),
        ("quarantine", "release", shop, "--all-of-rule", "units_plausible", *day),
        ("batches", shop),
        ("profile", shop, "--feed", "sales", *day),
        ("profile", shop, "--feed", "behaviour", "--json", *day),
    )
    told = capfd.readouterr()
    for word in ("units_plausible", "Released 1 row", "✓", "never shown", "teleported"):
        assert word in told.out, told.out + told.err
    assert PERSON not in told.out + told.err
    outside = files_outside_landing(home)
    assert {path.suffix for path in outside} >= {".parquet", ".json", ".html"}
    assert places_with(PERSON, outside) == []
    assert places_with(PERSON, list((home.landing / "small").rglob("*.parquet")))


def test_counts_of_few_people_are_suppressed(shop: Path, home: Home) -> None:
    let_in(shop, home)
    lake = open_cycle(shop, DAY, home).lake
    found = {
        feed: lake.as_of(feed, FEEDS[feed].key, DAY).to_pandas().query("date < @DAY").groupby("item")
        for feed in ("sales", "behaviour")
    }
    assert found["sales"]["buyers"].agg(["min", "max", "count"]).loc["SKU1"].tolist() == [6, 6, 40]
    assert found["sales"]["buyers"].count()["SKU0"] == 0
    assert found["sales"]["orders"].min().tolist() == [6, 6]
    assert found["behaviour"]["visitors"].min()["SKU1"] == 8
    assert found["behaviour"]["visitors"].count()["SKU0"] == 0


def contradicting(lines: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([lines, lines.tail(3).assign(units=2, client=customer(7))])


def misplaced(lines: pd.DataFrame) -> pd.DataFrame:
    """Every customer stands where the day should."""
    return lines.assign(date=lines["client"])


@pytest.mark.parametrize("change", [contradicting, misplaced])
def test_refused_batch_names_no_person(shop: Path, home: Home, change) -> None:
    change(order_lines(DAY)).to_csv(shop.parent / "sales.csv", index=False)
    assert_fails_without_naming_anybody(shop, home)


HEADER = "invoice,line,sku,date,units,revenue,client\n"
BROKEN_FILES = {
    "broken quotes": f'{HEADER}1,1,A,2021-01-04,1,1,"{PERSON}-1"x"\n2,1,A,2021-01-04,1,1,{PERSON}-2\n',
    "too many values": f"{HEADER}1,1,A,2021-01-04,1,1,{PERSON}-1,{PERSON}-2,9\n",
    "cut off": f"{HEADER}1,1,A,2021-01-04,1,1,{PERSON}-1\n1,1,{PERSON}-1",
    "wrong separator": f"invoice;line;sku;date;units;revenue;{PERSON}-1\n1;1;A;2021-01-04;1;1;{PERSON}-2\n",
}


@pytest.mark.parametrize("fault", BROKEN_FILES)
def test_broken_file_names_no_person(shop: Path, home: Home, fault: str) -> None:
    (shop.parent / "sales.csv").write_text(BROKEN_FILES[fault], encoding="utf-8")
    assert_fails_without_naming_anybody(shop, home)


@pytest.mark.parametrize("fault", ["broken quotes", "too many values", "cut off"])
def test_cause_of_a_broken_file_names_no_person(shop: Path, home: Home, fault: str) -> None:
    """A scheduler's log has every error that caused the one that is told."""
    (shop.parent / "sales.csv").write_text(BROKEN_FILES[fault], encoding="utf-8")
    error = failure(shop, home)
    assert PERSON not in "".join(traceback.format_exception(error))


def test_wrong_encoding_names_no_person(shop: Path, home: Home) -> None:
    lines = order_lines(DAY).assign(client=lambda frame: frame["client"] + "-Zoë")
    (shop.parent / "sales.csv").write_bytes(lines.to_csv(index=False).encode("latin-1"))
    assert_fails_without_naming_anybody(shop, home)


def test_cut_parquet_names_no_person(shop: Path, home: Home) -> None:
    file = shop.parent / "events.parquet"
    file.write_bytes(file.read_bytes()[:-200])
    assert_fails_without_naming_anybody(shop, home)


def let_in(shop: Path, home: Home) -> None:
    cycle = open_cycle(shop, DAY, home)
    for feed in ("sales", "behaviour"):
        collect.run(cycle, feed)
        validate.run(cycle, feed)


def failure(shop: Path, home: Home) -> TrendmillError:
    with pytest.raises(TrendmillError) as caught:
        let_in(shop, home)
    return caught.value


def assert_fails_without_naming_anybody(shop: Path, home: Home) -> None:
    assert PERSON not in str(failure(shop, home))
    assert places_with(PERSON, files_outside_landing(home)) == []
