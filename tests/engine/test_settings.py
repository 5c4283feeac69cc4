import socket
from stat import S_IMODE

import pytest

from pipeline.engine import engine
from pipeline.engine.credentials import Credentials
from pipeline.engine.engine import needs_space
from pipeline.engine.errors import EngineError
from pipeline.engine.ports import choose_port, free_port
from pipeline.engine.settings import LOOPBACK, engine_environment


def environment_of(home, **changes):
    arguments = {"port": 1234, "engine_id": "x", "follow_schedule": False, "task_slots": 2, "extra": {}}
    return engine_environment(home, Credentials.ensure(home.airflow), **arguments | changes)


def test_secrets_are_made_once_and_belong_to_their_owner_alone(home):
    made = Credentials.ensure(home.airflow)
    files = (made.password_file, made.fernet_key_file, made.jwt_secret_file, made.api_secret_file)
    before = [file.read_text() for file in files]
    assert len(set(before)) == len(files)
    for file in files:
        file.chmod(0o644)
    Credentials.ensure(home.airflow)
    assert [file.read_text() for file in files] == before
    assert [S_IMODE(file.stat().st_mode) for file in files] == [0o600] * len(files)
    assert S_IMODE(home.airflow.stat().st_mode) == 0o700
    assert len(made.password()) >= 16


def test_no_secret_enters_the_environment(home):
    made = Credentials.ensure(home.airflow)
    environment = environment_of(home)
    for file in (made.fernet_key_file, made.jwt_secret_file, made.api_secret_file):
        assert not any(file.read_text() in value for value in environment.values())
    assert not any(made.password() in value for value in environment.values())


def test_the_environment_keeps_out_another_airflow_and_stays_on_the_loopback(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", "postgres://elsewhere")
    monkeypatch.setenv("NO_PROXY", "intranet")
    environment = environment_of(home, extra={"TRENDMILL_MARKET_FILES": "shop.yaml"})
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_SHOP" not in environment
    assert environment["AIRFLOW__API__HOST"] == LOOPBACK == "127.0.0.1"
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet,127.0.0.1,localhost"
    assert environment["TRENDMILL_HOME"] == str(home.path)
    assert environment["TRENDMILL_MARKET_FILES"] == "shop.yaml"


def test_a_taken_port_is_a_sentence_when_asked_for_and_a_detour_otherwise():
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"Port {port} .* is taken .* --airflow-port"):
            choose_port(port, 8080, "--airflow-port")
        assert choose_port(None, port, "--airflow-port") != port
    free = free_port()
    assert choose_port(free, 8080, "--airflow-port") == free


def test_a_port_that_is_meant_for_something_else_is_spared():
    preferred = free_port()
    assert choose_port(None, preferred, "--mlflow-port") == preferred
    assert choose_port(None, preferred, "--mlflow-port", (preferred,)) != preferred
    with pytest.raises(EngineError, match=rf"Port {preferred} cannot serve both .* --mlflow-port"):
        choose_port(preferred, 5000, "--mlflow-port", (preferred,))


def test_a_full_disk_is_a_sentence_before_anything_starts(home, monkeypatch):
    needs_space(home)
    monkeypatch.setattr(engine, "_LEAST_FREE_BYTES", 10**18)
    with pytest.raises(EngineError, match=r"MB are free on the disk of .*; make room"):
        needs_space(home)
