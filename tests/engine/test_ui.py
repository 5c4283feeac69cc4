"""Which servers `trendmill ui` starts, and where it points the links."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.engine import ui
from pipeline.engine.errors import EngineError
from pipeline.engine.markets import note_market
from pipeline.engine.ports import free_port


class StoppedEngine:
    """An engine that starts nothing, and is stopped at once."""

    def __init__(self, home, *, port, follow_schedule, extra):
        self.address, self.port, self.extra, self.follows = f"http://127.0.0.1:{port}", port, extra, follow_schedule
        self.credentials = SimpleNamespace(user="admin", password_file=home.airflow / "passwords.json")
        self.added = {}
        made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def add(self, name, command):
        self.added[name] = command

    def check(self):
        raise KeyboardInterrupt


made = []


@pytest.fixture
def serve(home, monkeypatch):
    """Return a function that serves until it is stopped at once: the engine and what was printed."""
    monkeypatch.setattr(ui, "Engine", StoppedEngine)
    monkeypatch.setattr(ui, "_wait_for_mlflow", lambda *_: None)

    def serving(**options):
        sink = io.StringIO()
        ui.serve_ui(home, Console(file=sink, width=200), open_browser=False, **options)
        return made.pop(), sink.getvalue()

    return serving


def test_mlflow_is_served_from_the_home(serve, monkeypatch, home):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    engine, told = serve()
    command = engine.added["mlflow"]
    port = command[command.index("--port") + 1]
    assert engine.extra["TRENDMILL_MLFLOW_UI"] == f"http://127.0.0.1:{port}"
    assert f"http://127.0.0.1:{port}/#/experiments" in told
    assert f"sqlite:///{home.mlflow / 'mlflow.db'}" in command


@pytest.mark.parametrize("given", ["https://mlflow.shop.example/ml/", "https://me:secret@mlflow.shop.example/ml"])
def test_a_given_mlflow_server_is_shown_and_none_is_started(serve, monkeypatch, given):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    engine, told = serve(mlflow_port=5000, airflow_port=free_port())
    assert not engine.added
    assert engine.extra["TRENDMILL_MLFLOW_UI"] == "https://mlflow.shop.example/ml"
    assert "MLflow   https://mlflow.shop.example/ml/#/experiments" in told
    assert "secret" not in told


def test_the_two_servers_never_share_a_port(serve, monkeypatch):
    port = free_port()
    monkeypatch.setattr(ui, "_MLFLOW_PORT", port)
    engine, _ = serve(airflow_port=port)
    assert engine.port == port
    assert str(port) not in engine.added["mlflow"]
    monkeypatch.setattr(ui, "_AIRFLOW_PORT", port)
    engine, _ = serve(mlflow_port=port)
    assert engine.port != port
    assert str(port) in engine.added["mlflow"]
    with pytest.raises(EngineError, match="cannot serve both"):
        serve(airflow_port=port, mlflow_port=port)


def test_markets_from_elsewhere_that_ran_in_the_home_are_there(serve, home, tmp_path):
    own = tmp_path / "my_shop.yaml"
    own.touch()
    note_market(home, SimpleNamespace(name="my_shop", file=own))
    engine, _ = serve()
    assert engine.extra["TRENDMILL_MARKET_FILES"] == str(own)
