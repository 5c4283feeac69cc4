import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def stranger(plugin):
    return TestClient(plugin.app, follow_redirects=False)


@pytest.fixture
def client(plugin, stranger, monkeypatch):
    """A client of somebody who is logged in, and may see the market `small` alone."""
    security = pytest.importorskip("airflow.api_fastapi.core_api.security")
    plugin.app.dependency_overrides[security.get_user] = lambda: "somebody"
    manager = SimpleNamespace(is_authorized_dag=lambda *, method, details, user: details.id == "daily_cycle__small")
    monkeypatch.setattr(plugin, "get_auth_manager", lambda: manager)
    yield stranger
    plugin.app.dependency_overrides.clear()


@pytest.fixture
def mlflow_server(monkeypatch):
    """A server that answers as MLflow does, for one run."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == f"/api/2.0/mlflow/runs/get?run_id={RUN}"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"run": {"info": {"experiment_id": "7"}}} if known else {}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("TRENDMILL_MLFLOW_UI", address)
    yield address
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", [f"/runs/{RUN}", "/reports/small/2021-07-11"])
def test_strangers_see_nothing(stranger, path):
    assert stranger.get(path).status_code == 401


def test_a_run_leads_to_mlflow(client, mlflow_server):
    answer = client.get(f"/runs/{RUN}")
    assert answer.is_redirect
    assert answer.headers["location"] == f"{mlflow_server}/#/experiments/7/runs/{RUN}?workflowType=machine_learning"


def test_an_unknown_run_is_a_sentence(client, mlflow_server):
    assert "does not know the run" in client.get(f"/runs/{'f' * 32}").text


def test_without_mlflow_a_sentence_says_how_to_open_it(client, monkeypatch):
    monkeypatch.delenv("TRENDMILL_MLFLOW_UI", raising=False)
    assert "make ui" in client.get(f"/runs/{RUN}").text
    monkeypatch.setenv("TRENDMILL_MLFLOW_UI", "http://127.0.0.1:9")
    assert "does not answer" in client.get(f"/runs/{RUN}").text


def test_a_server_that_wants_a_login_is_not_said_to_have_lost_the_run(client, plugin, monkeypatch):
    async def refuse(*_, **__):
        return SimpleNamespace(status_code=401, is_error=True)

    monkeypatch.setenv("TRENDMILL_MLFLOW_UI", "https://mlflow.shop.example")
    monkeypatch.setattr(plugin.httpx.AsyncClient, "get", refuse)
    assert f"asks for a login; look for the run {RUN} there" in client.get(f"/runs/{RUN}").text


def test_a_report_is_shown_and_cannot_reach_airflow(client, home):
    folder = home.reports / "small"
    folder.mkdir(parents=True)
    (folder / "2021-07-11.html").write_text("<h1>Grüße</h1>", encoding="utf-8")
    answer = client.get("/reports/small/2021-07-11")
    assert answer.text == "<h1>Grüße</h1>"
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_a_missing_report_is_a_sentence(client):
    answer = client.get("/reports/small/2021-07-12")
    assert answer.status_code == 404
    assert "no report of small as of 2021-07-12" in answer.text


def test_a_report_needs_the_right_to_see_its_dag(client):
    assert client.get("/reports/large/2021-07-11").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/reports/..%2f..%2fairflow/2021-07-11",
        "/reports/../2021-07-11",
        "/reports/Small/2021-07-11",
        "/reports/small/..%2f..%2fsecret",
        "/reports/small/yesterday",
        "/runs/..%2fx",
        f"/runs/{RUN}0",
        "/runs/x%3Fy",
    ],
)
def test_other_paths_lead_nowhere(client, path):
    assert client.get(path).status_code in {404, 422}


@pytest.mark.parametrize(
    ("task_id", "map_index", "run_link", "report_link"),
    [
        ("begin", -1, "/trendmill/runs/parent", ""),
        ("feeds.collect", 0, "/trendmill/runs/parent", ""),
        ("candidates.train", 1, "/trendmill/runs/child", ""),
        ("report", -1, "/trendmill/runs/parent", "/trendmill/reports/small/2021-07-11"),
    ],
)
def test_each_task_links_to_its_run_and_the_last_one_to_the_report(
    plugin, monkeypatch, task_id, map_index, run_link, report_link
):
    reported = {
        ("begin", -1): {"mlflow_run_id": "parent"},
        ("candidates.train", 1): {"mlflow_run_id": "child"},
        ("report", -1): {"file": "/home/reports/small/2021-07-11.html"},
    }
    monkeypatch.setattr(plugin, "_reported", lambda _, task, index: reported.get((task, index), {}))
    key = SimpleNamespace(dag_id="daily_cycle__small", run_id="r", task_id=task_id, map_index=map_index)
    assert plugin.MlflowRunLink().get_link(None, ti_key=key) == run_link
    assert plugin.ReportLink().get_link(None, ti_key=key) == report_link


def test_other_dags_and_nights_without_a_run_get_no_link(plugin, monkeypatch):
    monkeypatch.setattr(plugin, "_reported", lambda *_: {})
    for dag_id in ("somebody_elses", "daily_cycle__small"):
        key = SimpleNamespace(dag_id=dag_id, run_id="r", task_id="report", map_index=-1)
        assert plugin.MlflowRunLink().get_link(None, ti_key=key) == ""
        assert plugin.ReportLink().get_link(None, ti_key=key) == ""


def test_airflow_finds_app_and_links(plugin):
    (mounted,) = plugin.TrendmillPlugin.fastapi_apps
    assert (mounted["app"], mounted["url_prefix"]) == (plugin.app, "/trendmill")
    assert [link.name for link in plugin.TrendmillPlugin.operator_extra_links] == ["MLflow run", "Report"]
