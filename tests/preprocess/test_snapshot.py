"""The stage's front door: which versions of which tables a panel is built from, and how it is put down."""

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from pipeline import preprocess
from pipeline.errors import StageError
from pipeline.preprocess import Panel
from pipeline.preprocess.build import build_panel
from pipeline.preprocess.facts import facts_of, versions_of
from tests.preprocess.conftest import AS_OF, START, World, random_sales
from tests.preprocess.test_feeds import DAYS, FEEDS_WITH_A_FUTURE, day, everything, rows

LATER = AS_OF + timedelta(days=1)


def test_the_versions_that_are_noted_are_those_that_are_read(world: Callable[..., World]) -> None:
    made = world(feeds=["sales", "stock"])
    made.put("stock", rows("cup", "north", range(DAYS), in_stock_share=1.0))
    before, versions = made.panel(), versions_of(made.cycle)
    made.put("sales", random_sales(seed=2))  # as a cycle of the same day that is collected again
    made.put("stock", rows("cup", "north", range(DAYS), in_stock_share=0.0))
    pinned = build_panel(made.cycle, facts_of(made.cycle, versions))
    assert pinned.fingerprint() == before.fingerprint() != made.panel().fingerprint()


@pytest.mark.parametrize("delivered", ["never", "no rows", "later"])
def test_a_feed_of_which_nothing_is_known_is_as_if_the_market_had_none(
    world: Callable[..., World], delivered: str
) -> None:
    optional = [feed for feed in FEEDS_WITH_A_FUTURE if feed != "sales"]
    without = world(name="without", variables={"a": {}}).panel()
    made = world(feeds=FEEDS_WITH_A_FUTURE, variables={"a": {}})
    if delivered == "later":
        everything(made, LATER, 1)
    for feed in optional if delivered == "no rows" else ():
        made.put(feed, pd.DataFrame())
    report = preprocess.run(made.cycle)
    assert report.fingerprint == without.fingerprint()
    tables = {"facts/sales"} if delivered == "never" else {f"facts/{feed}" for feed in FEEDS_WITH_A_FUTURE}
    assert set(report.inputs) == tables
    assert set(preprocess.load_panel(made.cycle)[1]) == tables | {"panel"}


def test_sales_must_be_known(world: Callable[..., World]) -> None:
    made = world(sales=pd.DataFrame())
    made.put("sales", random_sales(), learnt=LATER)
    with pytest.raises(StageError, match=r"has no facts/sales in the lake that were known on that day; run "):
        preprocess.run(made.cycle)


def test_an_equal_panel_of_other_versions_keeps_its_files_and_names_the_new_ones(world: Callable[..., World]) -> None:
    made = world()
    first = preprocess.run(made.cycle)
    folder = made.cycle.snapshot_dir
    files = {path.name: path.stat().st_ino for path in folder.iterdir()}
    made.put("sales", random_sales(seed=2), learnt=LATER)
    second = preprocess.run(made.cycle)
    assert second.fingerprint == first.fingerprint
    assert second.inputs["facts/sales"] > first.inputs["facts/sales"]
    assert json.loads((folder / "inputs.json").read_text())["inputs"] == second.inputs
    changed = {path.name for path in folder.iterdir() if files.pop(path.name) != path.stat().st_ino}
    assert changed == {"inputs.json"}, "a new file in its place: whoever reads sees one of them whole"
    assert not files
    preprocess.run(made.cycle)
    assert json.loads((folder / "inputs.json").read_text())["inputs"] == second.inputs


def test_panel_and_record_are_put_down_together(world: Callable[..., World]) -> None:
    made = world()
    preprocess.run(made.cycle)
    made.put("sales", random_sales(seed=2))
    folder = made.cycle.snapshot_dir
    inodes = {path.stat().st_ino for path in folder.iterdir()}
    report = preprocess.run(made.cycle)
    assert not inodes & {path.stat().st_ino for path in folder.iterdir()}
    panel, inputs = preprocess.load_panel(made.cycle)
    assert panel.fingerprint() == inputs["panel"] == report.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.slow
@pytest.mark.parametrize("frequency", ["D", "W"])
def test_few_series_are_seen_as_they_are_among_many(world: Callable[..., World], frequency: str) -> None:
    """What is read of the chosen series alone equals what they are when everything is read."""
    few, many = (
        world_of_everything(world, name=name, frequency=frequency, series={"top": top, "trailing_days": 400})
        for name, top in (("few", 2), ("many", 100))
    )
    assert few.unique_id.tolist() == ["mug/north", "pan/south"]
    chosen = many.take([many.unique_id.tolist().index(name) for name in few.unique_id])
    for field in fields(Panel):
        if not field.name.startswith("static"):  # codes count the labels of the series that there are
            np.testing.assert_array_equal(getattr(few, field.name), getattr(chosen, field.name), err_msg=field.name)
    assert {"promotion_flash", "promotion_others", "market_a", "market_c"} <= set(few.known_names)
    assert "market_d" in few.shared_names
    assert few.known[:, :, few.known_names.index("market_a")].any()
    assert not few.known[:, :, few.known_names.index("market_c")].any(), "it is about another item"
    assert {"views", "searches"} <= set(few.past_names)


def world_of_everything(world: Callable[..., World], **settings) -> Panel:
    """Return the panel of a world in which some facts are about series that sell little."""
    often = [rows(item, place, range(DAYS), units=3) for item, place in (("pan", "south"), ("mug", "north"))]
    shut = pd.concat([*often, random_sales()])
    shut = shut[(shut["date"] != day(30)) & ((shut["date"] != day(31)) | (shut["item"] == "cup"))]
    made = world(
        sales=shut.drop_duplicates(["item", "location", "date"]),
        feeds=FEEDS_WITH_A_FUTURE,
        variables={"a": {"known": "ahead"}, "b": {}, "c": {"known": "ahead"}, "d": {"known": "ahead"}},
        **settings,
    )
    everything(made, START, 1)
    learnt = START + timedelta(days=1)
    made.put("prices", rows("mug", "north", range(DAYS + 20), price=3.0, list_price=4.0), learnt=learnt)
    made.put("behaviour", rows("cup", "south", range(DAYS), searches=5), learnt=learnt)
    made.put("stock", rows("pan", "south", range(20, 25), in_stock_share=0.1), learnt=learnt)
    place = {"category": "*", "location": "*", "start": day(9), "end": day(12), "depth": 0.5}
    made.put("promotions", pd.DataFrame([place | {"item": "pot", "kind": "others"}]), learnt=learnt)
    said = {"variable": "c", "region": "*", "location": "*", "item": "pot", "date": day(50), "value": 7.0}
    made.put("market", pd.DataFrame([said, said | {"variable": "d", "item": "*"}]), learnt=learnt)
    items = [{"item": item, "category": item[0], "launched": day(-9)} for item in ("cup", "mug", "pan")]
    made.put("catalogue", pd.DataFrame(items), learnt=learnt)
    return made.panel()
