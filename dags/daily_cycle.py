"""Airflow DAGs `daily_cycle__<market>`: one for each market that can be read."""

from airflow.sdk import get_parsing_context
from trendmill_factory import daily_cycle, find_markets

_wanted = get_parsing_context().dag_id  # when a task starts, Airflow needs that task's DAG alone

for _card in find_markets().cards:
    if _wanted in {None, _card.dag_id}:
        globals()[_card.dag_id] = daily_cycle(_card)
