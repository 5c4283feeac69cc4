"""Airflow DAG `lake_maintenance`: once a week, each market's lake is put in good order, far from any market's night.

Should it meet a night all the same, nothing is lost: Delta lets the night's commit go first.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronTriggerTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from trendmill_factory import MarketCard, _mistakes_are_final, find_markets

_LOG = logging.getLogger("trendmill")

_DAY_MINUTES = 24 * 60
_SUMMER_AND_WINTER = (date(2024, 1, 1), date(2024, 7, 1))
_RETRY_DELAY = timedelta(minutes=10)

_DOC = """
Once a week, for each market by itself: joins the small files that the nights have left in the lake, makes the tables'
logs short, and removes old versions of tables (`retention.versions_days`) and landed batches
(`retention.landing_days`). No row changes. It may be run at any time, again, and beside a night.

The same for one market by hand: `trendmill maintain MARKET --date DAY`.
"""

_TASK_DOC = """
Keeps one market's lake in good order.

**When it fails:** the lake's store did not answer, or its tables were written all the time; clear the task at a
quieter hour. Until then the lake is only slower and larger, never wrong.
"""


def quiet_hour(cards: Sequence[MarketCard]) -> int:
    """Return the hour of the day in UTC that lies farthest from every market's night, summer and winter."""
    nights = {_due_minute(card, day) for card in cards for day in _SUMMER_AND_WINTER}

    def distance(hour: int) -> int:
        return min((_minutes_between(hour * 60, night) for night in nights), default=_DAY_MINUTES)

    return max(range(24), key=distance)


def _due_minute(card: MarketCard, day: date) -> int:
    due = datetime.combine(day, time.fromisoformat(card.at), tzinfo=ZoneInfo(card.timezone)).astimezone(UTC)
    return due.hour * 60 + due.minute


def _minutes_between(one: int, other: int) -> int:
    apart = abs(one - other)
    return min(apart, _DAY_MINUTES - apart)


def lake_maintenance(cards: Sequence[MarketCard]) -> DAG:
    """Return the DAG with one mapped task a market."""
    with DAG(
        dag_id="lake_maintenance",
        description="Join small files, remove what is past its retention",
        doc_md=_DOC,
        schedule=CronTriggerTimetable(f"0 {quiet_hour(cards)} * * 0", timezone="UTC"),
        catchup=False,
        max_active_runs=1,
        tags=["trendmill", "weekly"],
        default_args={
            "owner": "trendmill",
            "retries": 2,
            "retry_delay": _RETRY_DELAY,
            "retry_exponential_backoff": True,
            "execution_timeout": timedelta(hours=4),
            "pool": "cpu",
            "queue": "cpu",
        },
    ) as dag:
        maintain.expand(market=[card.name for card in cards])
    return dag


@task(multiple_outputs=False, map_index_template="{{ task.op_kwargs['market'] }}", doc_md=_TASK_DOC)
def maintain(market: str) -> dict[str, Any]:
    """Keep one market's lake in good order."""
    from pipeline.cycle import open_cycle
    from pipeline.maintain import run

    card = next((card for card in find_markets().cards if card.name == market), None)
    if card is None:
        msg = f"The market '{market}' cannot be read any more; `trendmill doctor` tells what to mend."
        raise AirflowFailException(msg)
    dag_run = get_current_context()["dag_run"]
    with _mistakes_are_final():
        report = run(open_cycle(card.file, last_day(card, dag_run.logical_date or dag_run.run_after)))
    _LOG.info(report.summary())
    return report.as_dict()


def last_day(card: MarketCard, due: datetime) -> date:
    """Return the newest as-of day that a market can have had by then: of a weekly one its last Sunday."""
    yesterday = due.astimezone(ZoneInfo(card.timezone)).date() - timedelta(days=1)
    return yesterday - timedelta(days=(yesterday.weekday() + 1) % 7) if card.is_weekly else yesterday


dag = lake_maintenance(find_markets().cards)
