"""The simulated world: its books balance, and what truly moves demand can be found again in its counts."""

from datetime import date, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.simulate import SimulatorSettings, Truth, truth
from pipeline.simulate.festivals import festival_days

SMALL = SimulatorSettings(
    seed=5, start=date(2022, 1, 1), days=800, items=60, locations=2, regions=2, customers=500, orders_a_day=400
)


@pytest.fixture(scope="module")
def world() -> Truth:
    return truth(SMALL)


def test_no_more_is_sold_than_was_asked_for_and_all_of_it_while_in_stock(world: Truth) -> None:
    assert (world.sold <= world.demand).all()
    assert (world.sold == world.demand)[world.in_stock == 1].all()
    lost = world.sold < world.demand
    assert lost.any()
    assert (world.in_stock[lost] < 1).all()
    assert (world.on_hand[lost] == 0).all()


def test_stock_balances(world: Truth) -> None:
    live = np.broadcast_to(world.live()[:, None], world.sold.shape)
    received = np.diff(world.on_hand, axis=0) + world.sold[1:]
    both_days = live[1:] & live[:-1]
    assert (received[both_days] >= 0).all()
    assert (world.on_hand >= 0).all()
    # Deliveries are rare and large: reviews order up to S only from s on.
    assert 0 < (received[both_days] > 0).mean() < 0.2


def test_without_pressure_nothing_is_lost() -> None:
    calm = truth(SMALL.model_copy(update={"stockout_pressure": 0.0, "days": 200}))
    tight = truth(SMALL.model_copy(update={"stockout_pressure": 0.9, "days": 200}))
    assert (calm.sold == calm.demand).all()
    assert tight.sold.sum() < 0.95 * tight.demand.sum()


def test_nothing_is_asked_for_outside_an_items_life(world: Truth) -> None:
    dead = ~np.broadcast_to(world.live()[:, None], world.demand.shape)
    assert dead.any()
    assert world.demand[dead].sum() == world.on_hand[dead].sum() == 0


def test_components_add_up_to_the_log_of_the_mean(world: Truth) -> None:
    since, until = date(2022, 11, 1), date(2022, 11, 30)
    added = sum(world.components(since, until).values())
    expected = world.expected(since, until)
    live = expected > 0
    np.testing.assert_allclose(np.log(expected[live]), added[live], rtol=1e-9)


def test_counts_scatter_around_their_mean_as_negative_binomials_do(world: Truth) -> None:
    expected = world.expected(SMALL.start, SMALL.end)
    busy = expected > 5
    variance = expected[busy] + expected[busy] ** 2 / SMALL.dispersion
    standard = (world.demand[busy] - expected[busy]) / np.sqrt(variance)
    assert abs(standard.mean()) < 0.02
    assert abs(standard.var() - 1) < 0.1


def test_true_elasticities_are_found_again_by_a_poisson_regression(world: Truth) -> None:
    parts = world.components(SMALL.start, SMALL.end)
    offset = sum(part for name, part in parts.items() if name != "price")
    log_price = world.log_price(SMALL.start, SMALL.end)
    live = np.broadcast_to(world.live()[:, None], log_price.shape)
    true = np.asarray(world.elasticities()["elasticity"])
    found, error = np.array([
        _poisson_slope(world.demand[..., i][live[..., i]], log_price[..., i][live[..., i]],
                       offset[..., i][live[..., i]], SMALL.dispersion)
        for i in range(len(true))
    ]).T  # fmt: skip
    sure = error < 0.3
    assert sure.sum() > 20
    assert np.abs((found - true) / error)[sure].mean() < 1.2
    assert np.corrcoef(found[sure], true[sure])[0, 1] > 0.7


def test_promotions_lift_demand_as_much_as_they_truly_do(world: Truth) -> None:
    """Against what would have been asked for without the promotions' attention, summed over all promoted days."""
    parts = world.components(SMALL.start, SMALL.end)
    promoted = parts["promotion"] > 0
    expected = world.expected(SMALL.start, SMALL.end)
    without = expected / np.exp(parts["promotion"])
    lifted = world.demand[promoted].sum() / without[promoted].sum()
    assert lifted == pytest.approx(expected[promoted].sum() / without[promoted].sum(), rel=0.03)
    assert lifted > 1.2
    uplifts = world.uplifts()
    factor = np.asarray(uplifts["attention"]) * np.asarray(uplifts["price"])
    np.testing.assert_allclose(np.asarray(uplifts["uplift"]), factor)
    assert (factor > 1).all()


@pytest.mark.parametrize("festival", ["double_11", "618", "black_friday"])
def test_demand_peaks_on_the_festivals_day(world: Truth, festival: str) -> None:
    by_day = world.demand.sum(axis=(1, 2))
    for day in festival_days(festival, 2022, 2023):
        middle = (day - SMALL.start).days
        week = by_day[middle - 5 : middle + 6]
        assert week.argmax() == 5
        assert week[5] > 1.5 * np.median(by_day[middle - 60 : middle - 25])


def test_spring_festival_moves_and_the_trough_moves_with_it(world: Truth) -> None:
    days = festival_days("spring_festival", 2022, 2024)
    assert days == [date(2022, 2, 1), date(2023, 1, 22), date(2024, 2, 10)]
    by_day = world.demand.sum(axis=(1, 2))
    for day in days[:3]:
        middle = (day - SMALL.start).days
        before, at = by_day[middle - 12 : middle - 5], by_day[middle : middle + 4]
        assert at.mean() < 0.6 * before.mean()


def test_browsing_tells_of_demand_days_ahead(world: Truth) -> None:
    """What interest was some days before moves demand, and more than what it was long before."""
    interest = world.scene.moods.interest[14:]
    parts = world.components(SMALL.start, SMALL.end)
    expected = world.expected(SMALL.start, SMALL.end)
    busy = (expected[:, 0] > 3) & (np.arange(SMALL.days) > 60)[:, None]
    surprise = np.log1p(world.demand[:, 0]) - np.log1p(expected[:, 0] / np.exp(parts["interest"][:, 0]))
    soon, long_ago = (
        np.corrcoef(np.roll(interest, lag, axis=0)[busy], surprise[busy])[0, 1] for lag in (2, 40)
    )  # fmt: skip
    assert soon > 0.3 > long_ago


def test_closed_days_sell_nothing() -> None:
    settings = SMALL.model_copy(update={"days": 60, "closed_weekdays": (6,), "closed_holidays": ("01-01",)})
    shut = truth(settings)
    closed = [
        day for day in range(60) if (settings.start + timedelta(days=day)).weekday() == 6 or day == 0
    ]  # fmt: skip
    by_day = shut.demand.sum(axis=(1, 2))
    assert by_day[closed].sum() == 0
    assert (np.delete(by_day, closed) > 0).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"regions": 3, "locations": 2}, "there are only 2 locations"),
        ({"customers": 1, "locations": 2}, "needs at least one"),
        ({"closed_weekdays": tuple(range(7))}, "nothing could ever be sold"),
        ({"closed_holidays": ("02-31",)}, "'02-31', which is no day of the year"),
        ({"days": 50_000}, "keep it between 1990 and 2090"),
    ],
)
def test_impossible_worlds_are_refused(changes, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SimulatorSettings(**changes)


def _poisson_slope(count, log_price, offset, dispersion: float) -> tuple[float, float]:
    """Return slope and standard error of a Poisson regression with a known offset, by Newton's steps."""
    slope = 0.0
    for _ in range(30):
        mean = np.exp(offset + slope * log_price)
        slope += ((count - mean) * log_price).sum() / max((mean * log_price**2).sum(), 1e-9)
    mean = np.exp(offset + slope * log_price)
    information = (mean * log_price**2).sum()
    spread = ((mean + mean**2 / dispersion) * log_price**2).sum()
    return slope, np.sqrt(spread) / max(information, 1e-9)
