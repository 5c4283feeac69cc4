"""Airflow plugin: from each task to its MLflow run, and from the last one to the report.

The links are worked out in the api-server when somebody looks at a task, from what the task reported; they lead to a
small app under `/trendmill`, because only at the moment of the click is it known whether MLflow's pages are up.
"""

import html
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import httpx
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.models.xcom import XComModel
from airflow.plugins_manager import AirflowPlugin
from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.utils.session import create_session
from fastapi import FastAPI, HTTPException, status
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import StringConstraints

from pipeline.cycle import Home

__all__ = ["MlflowRunLink", "ReportLink", "TrendmillPlugin", "app"]

_PREFIX = "/trendmill"
_DAG_PREFIX = "daily_cycle__"
_MLFLOW_SECONDS = 5.0
_NO_LINK = ""
# A report is our own page, but its texts come from a market's data: it may draw, and reach nothing of Airflow's.
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "font-src data:"
)

_RunId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
_MarketName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]*$")]

app = FastAPI(title="Trendmill", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/runs/{run_id}")
async def mlflow_run(run_id: Annotated[_RunId, InPath()], _user: GetUserDep) -> Response:
    """Lead to an MLflow run's page, or say how to open MLflow."""
    server = os.environ.get("TRENDMILL_MLFLOW_UI", "").rstrip("/")
    if not server:
        return _sentence(f"MLflow's pages are not up. Start them with <code>make ui</code>; the run is {run_id}.")
    try:
        async with httpx.AsyncClient(timeout=_MLFLOW_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{server}/api/2.0/mlflow/runs/get", params={"run_id": run_id})
    except httpx.HTTPError:
        return _sentence(
            f"MLflow does not answer at {html.escape(server)}; start <code>make ui</code> or that server again."
        )
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return _sentence(f"MLflow at {html.escape(server)} asks for a login; look for the run {run_id} there.")
    if answer.is_error:
        return _sentence(f"MLflow at {html.escape(server)} does not know the run {run_id}; it may have been deleted.")
    experiment = answer.json()["run"]["info"]["experiment_id"]
    # Without the last words MLflow may open on its pages for language models.
    return RedirectResponse(f"{server}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning")


@app.get("/reports/{market}/{day}")
def report(market: Annotated[_MarketName, InPath()], day: date, user: GetUserDep) -> Response:
    """Show a cycle's report to those who may see the market's DAG."""
    details = DagDetails(id=f"{_DAG_PREFIX}{market}")
    if not get_auth_manager().is_authorized_dag(method="GET", details=details, user=user):
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"You may not see {market}.")
    file = Home.from_environment().reports / market / f"{day}.html"
    if not file.is_file():
        return _sentence(f"There is no report of {market} as of {day}; its task <code>report</code> writes one.")
    return HTMLResponse(file.read_bytes(), headers={"Content-Security-Policy": _REPORT_POLICY})


def _sentence(text: str) -> HTMLResponse:
    page = f"<!doctype html><title>Trendmill</title><p style='font: 16px sans-serif; margin: 3em'>{text}</p>"
    return HTMLResponse(page, status.HTTP_404_NOT_FOUND)


class MlflowRunLink(BaseOperatorLink):
    """From a task to its candidate's MLflow run, or to the run of the whole cycle."""

    name = "MLflow run"
    operators: ClassVar = [_PythonDecoratedOperator]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address, or nothing while the cycle has no run yet."""
        if not ti_key.dag_id.startswith(_DAG_PREFIX):
            return _NO_LINK
        own = _reported(ti_key, ti_key.task_id, ti_key.map_index).get("mlflow_run_id")
        run = own or _reported(ti_key, "begin", -1).get("mlflow_run_id")
        return _address("runs", str(run)) if run else _NO_LINK


class ReportLink(BaseOperatorLink):
    """From the task `report` to the page that it wrote."""

    name = "Report"
    operators: ClassVar = [_PythonDecoratedOperator]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address, or nothing for other tasks and before there is a report."""
        if not ti_key.dag_id.startswith(_DAG_PREFIX) or ti_key.task_id != "report":
            return _NO_LINK
        written = _reported(ti_key, ti_key.task_id, ti_key.map_index).get("file")
        if not written:
            return _NO_LINK
        return _address("reports", ti_key.dag_id.removeprefix(_DAG_PREFIX), Path(str(written)).stem)


def _reported(ti_key: TaskInstanceKey, task_id: str, map_index: int) -> dict[str, Any]:
    """Return what a task of the same run handed on, or nothing."""
    query = XComModel.get_many(
        key="return_value", run_id=ti_key.run_id, dag_ids=ti_key.dag_id, task_ids=task_id, map_indexes=map_index
    )
    with create_session() as session:
        found = session.execute(query.with_only_columns(XComModel.value)).first()
    value = XComModel.deserialize_value(found) if found else None
    return value if isinstance(value, dict) else {}


def _address(*parts: str) -> str:
    """Return a path on Airflow's own site, which may stand below a prefix."""
    below = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return "/".join([f"{below}{_PREFIX}", *parts])


class TrendmillPlugin(AirflowPlugin):
    """What Trendmill adds to Airflow's pages."""

    name = "trendmill"
    fastapi_apps: ClassVar = [{"app": app, "url_prefix": _PREFIX, "name": "Trendmill"}]
    operator_extra_links: ClassVar = [MlflowRunLink(), ReportLink()]
