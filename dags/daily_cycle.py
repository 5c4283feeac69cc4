"""Airflow DAGs `daily_cycle__<market>`: one for each market that can be read."""

from airflow.sdk import get_parsing_context
from trendmill_factory import build_dags

_wanted = get_parsing_context().dag_id  # when a task starts, Airflow needs that task's DAG alone

for _dag in build_dags(_wanted).dags:
    globals()[_dag.dag_id] = _dag
