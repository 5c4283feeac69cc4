"""The HTTP source against a real server on this machine: one that answers, fails, stalls and lies."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.collect import landed, run
from pipeline.collect.sources import Window, open_source
from pipeline.cycle import Cycle, Home, open_cycle
from pipeline.errors import ConfigError, SourceError, SourceUnavailableError
from pipeline.feeds import FEEDS

SINCE = date(2024, 1, 1)
AS_OF = date(2024, 1, 5)
SECRET = "sesame-123"  # noqa: S105 - known to nobody but these tests

PATIENT = {"timeout_seconds": 5, "pause_seconds": 0.001, "requests_a_second": 10_000}


class Service:
    """A web service on 127.0.0.1 whose answers a test gives; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[Any, dict[str, str]], None] = lambda handler, query: None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {"path": urlsplit(self.path).path, **dict(parse_qsl(urlsplit(self.path).query))}
                service.asked.append(query)
                service.headers.append(dict(self.headers))
                service.answer(self, query)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/index"

    def encrypt(self, folder: Path) -> None:
        """Answer over TLS from now on, with a certificate of our own making."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        days = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2124, 1, 1, tzinfo=UTC))
        unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, *days)
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "cert.pem").write_bytes(unsigned.sign(key, SHA256()).public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def send(handler: Any, body: object, code: int = 200, **headers: str) -> None:
    """Answer with JSON, or with text as it is."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    handler.send_response(code)
    for name, value in {"content_type": "application/json", "content_length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def index_of(day: date, value: object = 1.5) -> dict[str, Any]:
    return {"day": str(day), "name": "index", "value": value}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    started = Service()
    yield started
    started.close()


@pytest.fixture
def cycle_of(tmp_path: Path, home: Home) -> Callable[..., Cycle]:
    """Return a function that opens the cycle of a market with this service behind its feed `market`."""

    def open_market(service: Service | None = None, feed: str = "market", **settings: Any) -> Cycle:
        (tmp_path / "sales.csv").write_text(f"item,date,units\nA,{SINCE},1\nA,{AS_OF},1\n", encoding="utf-8")
        source = {"source": "http", "columns": {"date": "day", "variable": "name"}, **PATIENT}
        if service:
            source["url"] = service.url
        market = {
            "name": "shop",
            "title": "Shop",
            "timezone": "Europe/Berlin",
            "history_start": SINCE,
            "feeds": {"sales": {"source": "files", "path": "sales.csv"}} | {feed: source | settings},
            "candidates": {"seasonal_naive": {"model": "seasonal_naive"}},
        }
        file = tmp_path / "shop.yaml"
        file.write_text(yaml.safe_dump(market), encoding="utf-8")
        return open_cycle(file, AS_OF, home)

    return open_market


def rows_of(cycle: Cycle, feed: str = "market") -> list[dict[str, Any]]:
    run(cycle, feed)
    return landed(cycle, feed).read().to_pylist()


def refused(cycle: Cycle, *parts: str, passing: bool, feed: str = "market") -> None:
    """Show that a collection ends in one sentence and leaves nothing behind."""
    with pytest.raises(SourceError) as caught:
        run(cycle, feed)
    text = str(caught.value)
    assert all(part in text for part in parts), text
    assert isinstance(caught.value, SourceUnavailableError) == passing
    assert "\n" not in text
    assert SECRET not in text
    assert not cycle.landing_dir(feed).exists()


def test_records_land_as_rows_of_the_window(service, cycle_of):
    days = [date(2023, 12, 31), SINCE, AS_OF, date(2024, 1, 6)]
    service.answer = lambda handler, query: send(handler, {"data": [index_of(day) for day in days]})
    cycle = cycle_of(service, records="data", parameters={"from": "{since}", "to": "{until}"})
    constant = {"variable": "index", "region": "*", "location": "*", "item": "*", "value": 1.5}
    assert rows_of(cycle) == [constant | {"date": day} for day in (SINCE, AS_OF)]
    assert service.asked == [{"path": "/index", "from": str(SINCE), "to": str(AS_OF)}]


def test_weather_comes_by_location_in_lists_and_lands_by_variable(service, cycle_of):
    def forecast(handler: Any, query: dict[str, str]) -> None:
        base = float(query["latitude"])
        daily = {"time": [str(SINCE), str(AS_OF)], "temperature_2m_max": [base, base + 1], "rain_sum": [0.2, None]}
        send(handler, {"latitude": base, "daily": daily, "daily_units": {"time": "iso8601"}})

    service.answer = forecast
    cycle = cycle_of(
        service,
        parameters={"latitude": "{latitude}", "daily": "temperature_2m_max,rain_sum"},
        each=[{"location": "north", "latitude": "54"}, {"location": "south", "latitude": "48"}],
        records="daily",
        columns={"date": "time"},
        variables={"temperature": "temperature_2m_max", "rain": "rain_sum"},
    )
    rows = {(row["location"], row["variable"], row["date"]): row["value"] for row in rows_of(cycle)}
    assert rows == {
        ("north", "temperature", SINCE): 54,
        ("north", "temperature", AS_OF): 55,
        ("north", "rain", SINCE): 0.2,
        ("south", "temperature", SINCE): 48,
        ("south", "temperature", AS_OF): 49,
        ("south", "rain", SINCE): 0.2,
    }
    assert [query["latitude"] for query in service.asked] == ["54", "48"]


def test_a_value_that_cannot_be_read_is_missing(service, cycle_of):
    values = ["12.5", "n/a", True, [1], 3]
    records = [index_of(AS_OF, value) | {"name": f"v{n}"} for n, value in enumerate(values)]
    records.append(index_of(AS_OF) | {"day": "yesterday"})
    records.append(index_of(AS_OF) | {"name": "\ud800"})  # half a character, as JSON can write it
    service.answer = lambda handler, query: send(handler, records)
    rows = rows_of(cycle_of(service))
    assert [row["value"] for row in rows[:5]] == [12.5, None, None, None, 3]
    assert rows[5]["variable"] is None
    assert rows[6]["date"] is None


def test_moments_are_days_of_the_market(service, cycle_of):
    late = datetime(2024, 1, 4, 23, 30, tzinfo=UTC)  # half past midnight in Berlin
    moments = [late.isoformat(), late.timestamp(), late.timestamp() * 1000, "2024-01-05"]
    service.answer = lambda handler, query: send(
        handler, [{"name": f"v{n}", "day": moment, "value": 1} for n, moment in enumerate(moments)]
    )
    assert [row["date"] for row in rows_of(cycle_of(service))] == [AS_OF] * 4


def test_order_lines_land_as_lines(service, cycle_of):
    line = {"no": 7, "sku": "A", "day": str(AS_OF), "units": 2, "customer": "ann"}
    service.answer = lambda handler, query: send(handler, [line])
    columns = {"order_id": "no", "item": "sku", "date": "day"}
    cycle = cycle_of(service, feed="sales", columns=columns)
    (row,) = rows_of(cycle, "sales")
    assert landed(cycle, "sales").grain == "lines"
    assert (row["order_id"], row["location"], row["units"]) == ("7", "all", 2)


def test_pages_are_counted_until_one_is_empty(service, cycle_of):
    pages = {"1": [index_of(SINCE)], "2": [index_of(AS_OF)], "3": []}
    service.answer = lambda handler, query: send(handler, pages[query["page"]])
    assert len(rows_of(cycle_of(service, page_parameter="page"))) == 2
    assert [query["page"] for query in service.asked] == ["1", "2", "3"]


@pytest.mark.parametrize("named", ["cursor", "url"])
def test_pages_name_the_next_one(service, cycle_of, named):
    def page(handler: Any, query: dict[str, str]) -> None:
        first = "after" not in query
        following = {"cursor": "x y", "url": "/index?after=x%20y"}[named] if first else None
        send(handler, {"rows": [index_of(SINCE if first else AS_OF)], "next": following})

    service.answer = page
    paging = {"next_page": "next"} | ({"page_parameter": "after"} if named == "cursor" else {})
    assert [row["date"] for row in rows_of(cycle_of(service, records="rows", **paging))] == [SINCE, AS_OF]
    assert service.asked[1]["after"] == "x y"


def test_a_long_window_is_asked_for_in_pieces(service, cycle_of):
    service.answer = lambda handler, query: send(handler, [index_of(date.fromisoformat(query["from"]))])
    cycle = cycle_of(service, parameters={"from": "{since}", "to": "{until}"}, days_a_request=2)
    assert [row["date"] for row in rows_of(cycle)] == [SINCE, date(2024, 1, 3), AS_OF]
    assert [(query["from"][-2:], query["to"][-2:]) for query in service.asked] == [
        ("01", "02"),
        ("03", "04"),
        ("05", "05"),
    ]


def test_records_without_a_day_come_with_every_piece_of_every_window(service, cycle_of):
    def answer(handler: Any, query: dict[str, str]) -> None:
        day = date.fromisoformat(query["from"])
        send(handler, [index_of(day), index_of(day, 2.5) | {"day": f"after {day}"}])

    service.answer = answer
    market = cycle_of(service, parameters={"from": "{since}"}, days_a_request=1).market
    window = Window(date(2024, 1, 4), AS_OF, AS_OF)
    batches = list(open_source(market.feed("market"), market).fetch(FEEDS["market"], window))
    assert [batch.column("date").to_pylist() for batch in batches] == [[date(2024, 1, 4), None], [AS_OF, None]]


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_busy_service_is_asked_again(service, cycle_of, code):
    def second_time(handler: Any, query: dict[str, str]) -> None:
        send(handler, [index_of(AS_OF)] if len(service.asked) > 1 else {}, 200 if len(service.asked) > 1 else code)

    service.answer = second_time
    assert len(rows_of(cycle_of(service))) == 1
    assert len(service.asked) == 2


def test_a_service_names_its_pause(service, cycle_of):
    asked_at = []

    def paused(handler: Any, query: dict[str, str]) -> None:
        asked_at.append(time.monotonic())
        if len(asked_at) == 1:
            send(handler, {}, 429, retry_after="1")
        else:
            send(handler, [index_of(AS_OF)])

    service.answer = paused
    assert len(rows_of(cycle_of(service))) == 1
    assert asked_at[1] - asked_at[0] >= 1


def test_a_pause_beyond_the_time_limit_is_not_waited_for(service, cycle_of):
    service.answer = lambda handler, query: send(handler, {}, 503, retry_after="3600")
    refused(cycle_of(service, total_seconds=60), "60 seconds in all", passing=True)
    assert len(service.asked) == 1


def test_requests_keep_the_rate_limit(service, cycle_of):
    asked_at = []

    def page(handler: Any, query: dict[str, str]) -> None:
        asked_at.append(time.monotonic())
        send(handler, [index_of(AS_OF, int(query["page"]))] if len(asked_at) < 4 else [])

    service.answer = page
    rows_of(cycle_of(service, page_parameter="page", requests_a_second=20))
    assert asked_at[-1] - asked_at[0] >= 3 / 20 - 0.03


def test_a_service_that_stays_down_is_given_up(service, cycle_of):
    service.answer = lambda handler, query: send(handler, {}, 503)
    refused(cycle_of(service, tries=3), "answers 503 Service Unavailable", "after 3 tries", passing=True)
    assert len(service.asked) == 3


def test_a_service_that_is_not_there_is_given_up(service, cycle_of):
    cycle = cycle_of(service, tries=2)
    service.close()
    refused(cycle, "does not answer", "after 2 tries", passing=True)


@pytest.mark.parametrize(("code", "says"), [(400, "400 Bad Request"), (401, "the secret"), (404, "404 Not Found")])
def test_a_refusal_is_final(service, cycle_of, code, says):
    service.answer = lambda handler, query: send(handler, {"error": "no"}, code)
    refused(cycle_of(service), says, passing=False)
    assert len(service.asked) == 1


def test_a_service_that_stalls_is_given_up(service, cycle_of):
    def stall(handler: Any, query: dict[str, str]) -> None:
        handler.rfile.read(1)  # nothing comes until the other side hangs up

    service.answer = stall
    refused(cycle_of(service, tries=2, timeout_seconds=0.2), "no whole answer within 0.2 seconds", passing=True)
    assert len(service.asked) == 2


def test_a_service_that_drips_is_given_up(service, cycle_of):
    def drip(handler: Any, query: dict[str, str]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass

    service.answer = drip
    refused(cycle_of(service, tries=1, timeout_seconds=0.3), "no whole answer within 0.3 seconds", passing=True)


def test_an_answer_that_breaks_off_is_asked_for_again(service, cycle_of):
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF)], content_length="10000")
    refused(cycle_of(service, tries=2), "broke off", passing=True)
    assert len(service.asked) == 2


LIES = {
    "truncated": ('[{"day": "2024-01-0', {}, "broken JSON", True),
    "page for people": ("<html><body>Sorry</body></html>", {}, "HTML or XML", False),
    "wrong type": ("[]", {"content_type": "text/html; charset=utf-8"}, "text/html instead of JSON", False),
    "error in a success": ({"error": True, "reason": "quota"}, {}, "an object with error, reason", False),
    "no list": ({"data": "none"}, {"records": "data"}, "no list of records at 'data'", False),
    "uneven lists": ({"data": {"day": ["2024-01-01"], "value": []}}, {"records": "data"}, "day 1, value 0", False),
    "other keys": ([{"when": "2024-01-05", "value": 1, "name": "x"}], {}, "when, value, name", False),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_in_one_sentence(service, cycle_of, lie):
    body, how, says, passing = LIES[lie]
    headers = {name: value for name, value in how.items() if name == "content_type"}
    settings = {name: value for name, value in how.items() if name == "records"}
    service.answer = lambda handler, query: send(handler, body, **headers)
    refused(cycle_of(service, **settings), says, passing=passing)


@pytest.mark.parametrize("repeated", ["cursor", "content"])
def test_pages_that_come_again_are_refused(service, cycle_of, repeated):
    def page(handler: Any, query: dict[str, str]) -> None:
        value = 1 if repeated == "content" else len(service.asked)
        following = str(len(service.asked)) if repeated == "content" else "same"
        send(handler, {"rows": [index_of(AS_OF, value)], "next": following})

    service.answer = page
    cycle = cycle_of(service, records="rows", next_page="next", page_parameter="after")
    refused(cycle, "the same page again", passing=False)


def test_more_pages_than_make_sense_are_refused(service, cycle_of):
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF, int(query["page"]))])
    refused(cycle_of(service, page_parameter="page", max_pages=4), "more than 4 pages", passing=False)
    assert len(service.asked) == 4


def test_an_answer_that_is_too_large_is_refused(service, cycle_of):
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF)] * 200)
    refused(cycle_of(service, max_megabytes=0.005), "more than 0.005 MB", passing=False)


def test_a_secret_comes_from_the_environment_and_is_not_logged(service, cycle_of, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("INDEX_TOKEN", SECRET)
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF)])
    rows_of(cycle_of(service, headers={"X-Token": "$INDEX_TOKEN"}, parameters={"key": "$INDEX_TOKEN"}))
    assert service.headers[0]["X-Token"] == SECRET
    assert service.asked[0]["key"] == SECRET
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"headers": {"Authorization": f"Bearer {SECRET}"}}, "'Authorization' is a secret"),
        ({"headers": {"X-Api-Key": SECRET}}, "'X-Api-Key' is a secret"),
        ({"headers": {"Cookie": SECRET}}, "'Cookie' is a secret"),
        ({"headers": {"X-Number": 123}}, "the value of 'X-Number' is no text"),
        ({"parameters": {"appid": SECRET}}, "'appid' is a secret"),
        ({"parameters": {"api_key": "{word}"}, "each": [{"word": SECRET}]}, "'api_key' is a secret"),
        ({"parameters": {"q": "{access_token}"}, "each": [{"access_token": SECRET}]}, "'access_token' is a secret"),
        ({"url": f"https://user:{SECRET}@api.example.com/v1"}, "the URL holds a secret"),
        ({"url": f"https://api.example.com/v1?unit=C&token={SECRET}"}, "the URL holds a secret"),
        ({"url": f"ftp://user:{SECRET}@api.example.com/v1"}, "begins with http"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(service, cycle_of, settings, named):
    with pytest.raises(ConfigError) as caught:
        cycle_of(**{"url": service.url} | settings)
    assert named in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_only_sounds_like_a_secret_is_taken(service, cycle_of):
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF)])
    rows_of(cycle_of(service, parameters={"keyword": "rain", "sort_key": "day"}, headers={"Accept": "text/json"}))
    assert service.asked[0]["sort_key"] == "day"


def test_a_certificate_that_nobody_vouches_for_is_refused(service, cycle_of, tmp_path):
    service.encrypt(tmp_path)
    service.answer = lambda handler, query: send(handler, [index_of(AS_OF)])
    refused(cycle_of(url=service.url.replace("http:", "https:")), "certificate", passing=False)
    assert service.asked == []


def test_a_secret_that_is_not_set_is_named(service, cycle_of, monkeypatch):
    monkeypatch.delenv("INDEX_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="'INDEX_TOKEN' is not set"):
        run(cycle_of(service, headers={"X-Token": "$INDEX_TOKEN"}), "market")
    assert service.asked == []


@pytest.mark.parametrize("way", ["redirect", "next page"])
def test_a_secret_goes_to_no_other_host(service, cycle_of, monkeypatch, way):
    stranger = Service()
    monkeypatch.setenv("INDEX_TOKEN", SECRET)

    def lead_away(handler: Any, query: dict[str, str]) -> None:
        if way == "redirect":
            send(handler, {}, 302, location=stranger.url)
        else:
            send(handler, {"rows": [index_of(AS_OF)], "next": stranger.url})

    service.answer = lead_away
    cycle = cycle_of(service, headers={"X-Token": "$INDEX_TOKEN"}, records="rows", next_page="next")
    refused(cycle, "must not see the secret", passing=False)
    stranger.close()
    assert stranger.asked == []


def test_a_redirect_within_the_service_is_followed(service, cycle_of, monkeypatch):
    monkeypatch.setenv("INDEX_TOKEN", SECRET)

    def moved(handler: Any, query: dict[str, str]) -> None:
        if query["path"] == "/index":
            send(handler, {}, 301, location="/moved")
        else:
            send(handler, [index_of(AS_OF)])

    service.answer = moved
    assert len(rows_of(cycle_of(service, headers={"X-Token": "$INDEX_TOKEN"}))) == 1


def test_redirects_in_a_circle_are_refused(service, cycle_of):
    service.answer = lambda handler, query: send(handler, {}, 302, location="/index")
    refused(cycle_of(service), "on and on", passing=False)


def test_a_service_in_the_middle_of_its_pages_leaves_nothing_behind(service, cycle_of):
    def half(handler: Any, query: dict[str, str]) -> None:
        if query["page"] == "1":
            send(handler, [index_of(AS_OF)])
        else:
            handler.connection.close()

    service.answer = half
    refused(cycle_of(service, page_parameter="page", tries=2), "after 2 tries", passing=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "ftp://example.com"}, "feeds.market"),
        ({"url": "https://example.com/{day}"}, "'{day}' stands for nothing"),
        ({"url": "https://example.com", "records": "a["}, "is no JMESPath"),
        ({"url": "https://example.com", "each": [{"a": "1"}, {"b": "2"}]}, "the same keys"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(cycle_of, settings, says):
    with pytest.raises(ConfigError) as caught:
        cycle_of(**settings)
    assert says in str(caught.value)


def test_a_column_that_the_feed_does_not_have_is_named(service, cycle_of):
    with pytest.raises(ConfigError, match="names 'temperature', which is no column"):
        run(cycle_of(service, columns={"temperature": "t"}), "market")
