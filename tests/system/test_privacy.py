"""Privacy of whole nights on the real engine: nobody is found in lake, MLflow, report, logs or databases."""

import re
from pathlib import Path

import pytest

from pipeline.cycle import Home
from tests.conftest import AS_OF
from tests.privacy import PERSON, click_events, files_outside_landing, order_lines, places_with, with_dirt, write_shop
from tests.system.conftest import Done, whole_night

pytestmark = pytest.mark.slow

CANDIDATES = {"seasonal_naive": {"model": "seasonal_naive"}, "lightgbm": {"model": "lightgbm", "trees": 5}}
BROKEN = (
    'invoice,line,sku,date,units,revenue,client\n1,1,SKU0,2021-01-04,1,1,"{who}"x"\n2,1,SKU0,2021-01-04,1,1,{who}\n'
)


@pytest.fixture(scope="module")
def shop(places: Path) -> Path:
    """Return the YAML of a shop whose people can be told."""
    lines, events = with_dirt(order_lines(AS_OF), click_events(AS_OF))
    series = {"top": 20, "trailing_days": 91, "levels": []}
    return write_shop(places / "people", lines, events, series=series, candidates=CANDIDATES)


@pytest.fixture(scope="module")
def failed(places: Path, shop: Path) -> Done:
    """Return a night that failed on a broken file of people."""
    sales = shop.parent / "sales.csv"
    whole = sales.read_bytes()
    sales.write_text(BROKEN.format(who=PERSON), encoding="utf-8")
    done = whole_night(shop, Home(places / "night_of_people"))
    sales.write_bytes(whole)
    return done


@pytest.fixture(scope="module")
def mended(failed: Done, shop: Path) -> Done:
    """Return the whole night in the same home, after the file was mended."""
    return whole_night(shop, failed.home)


def test_broken_file_fails_the_night_and_names_nobody(failed: Done) -> None:
    assert failed.code == 1, failed.output
    assert re.search(r"Failed: feeds\.collect .*sales\.csv.* cannot be read", failed.output), failed.output
    assert_names_nobody(failed)


def test_whole_night_names_nobody(mended: Done) -> None:
    assert mended.code == 0, mended.output
    assert_names_nobody(mended)
    roots = {path.relative_to(mended.home.path).parts[0] for path in files_outside_landing(mended.home)}
    assert roots >= {"lake", "mlflow", "airflow", "data_docs", "reports", "snapshots"}
    assert places_with(PERSON, (mended.home.landing / "small").rglob("*.parquet")) != []


def assert_names_nobody(done: Done) -> None:
    """Nobody is found in a file outside the landing zone, on the terminal, or in a process's arguments."""
    outside = files_outside_landing(done.home)
    assert any(path.suffix == ".db" for path in outside)
    assert any(path.suffix == ".log" for path in outside)
    assert places_with(PERSON, outside) == []
    assert PERSON not in done.output
    assert not any(PERSON in command for command in done.witness.commands)
