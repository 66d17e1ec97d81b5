"""Probes against a real HTTP server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.drivers.http import driver as http_driver
from lastgood.drivers.http.driver import create
from lastgood.ports.drivers import GivesEvidence
from lastgood.testing.conformance_measures import MeasuresConformance, Subject

UNIT = UnitId("storefront", "prod", "us")
RATIO = Signal("home", SignalKind.RATIO, "http")
GAUGE = Signal("speed", SignalKind.GAUGE, "http")


class Shop:
    """A server that can be told how to answer, and go away and come back on its port."""

    def __init__(self) -> None:
        self.status, self.body, self.delay, self.paths = 200, b"welcome", 0.0, []
        self.drip = 0.0
        self.released = threading.Event()
        self.port = 0
        self.start()

    def start(self) -> None:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shop.paths.append(self.path)
                shop.released.wait(shop.delay)
                self.send_response(shop.status)
                self.send_header("Set-Cookie", "session=topsecret")
                self.send_header("Content-Length", str(len(shop.body)))
                self.end_headers()
                for byte in shop.body if shop.drip else ():
                    if shop.released.wait(shop.drip):
                        return
                    self.wfile.write(bytes([byte]))
                if not shop.drip:
                    self.wfile.write(shop.body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda request, client: None  # a client that gave up
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def driver(self, **settings: object):
        return create(UNIT, {"target": {"listen": f"127.0.0.1:{self.port}"}, **settings}, None)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.released.set()
    shop.stop()


class TestHttpMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, shop: Shop) -> Subject:
        def answer(status: int) -> None:
            shop.status = status

        return Subject(
            lambda: shop.driver(),
            RATIO,
            lambda: answer(200),
            lambda: answer(500),
            shop.stop,
            shop.start,
            read_is_event=True,
        )


def once(driver, signal: Signal = RATIO):
    return driver.read(signal, driver.begin(signal))


def test_each_read_is_one_probe_of_the_path(shop: Shop) -> None:
    driver = shop.driver(path="/healthz?deep=1")
    cursor = driver.begin(RATIO)
    assert shop.paths == []
    driver.read(RATIO, driver.read(RATIO, cursor).cursor)
    assert shop.paths == ["/healthz?deep=1"] * 2


@pytest.mark.parametrize(
    ("settings", "status", "good"),
    [
        ({}, 204, 1),
        ({}, 302, 0),
        ({}, 404, 0),
        ({"expect": 404}, 404, 1),
        ({"expect": [200, "3xx"]}, 302, 1),
        ({"expect": "200"}, 201, 0),
        ({"contains": "welcome"}, 200, 1),
        ({"contains": "checkout"}, 200, 0),
    ],
)
def test_what_counts_as_good(shop: Shop, settings, status, good) -> None:
    shop.status = status
    if status == 204:
        shop.body = b""
    reading = once(shop.driver(**settings))
    assert (reading.good, reading.total, reading.error) == (good, 1, "")


def test_the_settings_of_a_signal_are_laid_over(shop: Shop) -> None:
    signal = Signal("lost", SignalKind.RATIO, "http", {"expect": 404, "path": "/lost"})
    shop.status = 404
    assert once(shop.driver(path="/"), signal).good == 1
    assert shop.paths == ["/lost"]
    own = {"url": f"http://127.0.0.1:{shop.port}/own", "target": {"admin": "x"}, "expect": 404}
    assert once(create(UNIT, {}, None), Signal("own", SignalKind.RATIO, "http", own)).good == 1
    assert shop.paths[-1] == "/own"


@pytest.mark.parametrize("how", ["delay", "drip"])
def test_a_slow_answer_ends_at_the_timeout(shop: Shop, how) -> None:
    setattr(shop, how, 30.0 if how == "delay" else 0.15)
    driver = shop.driver(timeout=0.3)
    begun = time.monotonic()
    assert (once(driver).good, once(driver).total) == (0, 1)
    assert time.monotonic() - begun < 2
    gauge = once(driver, GAUGE)
    assert (gauge.value, gauge.error) == (None, "no answer within 0.3 s")


def test_a_gauge_is_milliseconds(shop: Shop) -> None:
    shop.delay = 0.2
    value = once(shop.driver(), GAUGE).value
    assert value is not None
    assert 200 <= value < 1000


def test_a_gauge_without_an_answer_is_no_data(shop: Shop) -> None:
    driver = shop.driver()
    shop.stop()
    reading = once(driver, GAUGE)
    assert (reading.value, reading.total) == (None, 0)
    assert "refused" in reading.error
    shop.start()


def test_nonsense_instead_of_http_is_bad(shop: Shop) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_answer_nonsense, args=(listener, 2))
    thread.start()
    driver = create(UNIT, {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/"}, None)
    assert (once(driver).good, once(driver, GAUGE).value) == (0, None)
    thread.join()
    listener.close()


def _answer_nonsense(listener: socket.socket, times: int) -> None:
    for _ in range(times):
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"\x00\x01 what?\r\n\r\n")
        connection.close()


def test_the_example_of_the_readme_works(shop: Shop) -> None:
    readme = (Path(http_driver.__file__).parent / "README.md").read_text()
    example = YAML(typ="safe").load(readme.split("```yaml")[1].split("```")[0])["signals"]["home"]
    signal = Signal("home", SignalKind(example["kind"]), example["driver"], example["settings"])
    assert once(shop.driver(), signal).good == 0
    shop.body = b"Socks <button>Add to cart</button>"
    assert once(shop.driver(), signal).good == 1


def test_evidence_is_the_response_without_cookies(shop: Shop) -> None:
    driver = shop.driver()
    assert isinstance(driver, GivesEvidence)
    shop.status, shop.body = 500, b"x" * 10_000
    (item,) = driver.evidence()
    text = item.content.decode()
    assert "status 500, expected 2xx" in text
    assert "HTTP/1.1 500" in text
    assert "topsecret" not in text
    assert text.count("x" * 4096) == 1
    assert "x" * 4097 not in text
    shop.stop()
    assert b"refused" in driver.evidence()[0].content
    shop.start()


TARGET = {"listen": "127.0.0.1:80"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"target": TARGET, "method": "POST"}, "'method'"),
        ({"target": TARGET, "path": "healthz"}, "'path'"),
        ({"target": TARGET, "expect": 99}, "'expect'"),
        ({"target": TARGET, "expect": []}, "'expect'"),
        ({"target": TARGET, "timeout": 0}, "'timeout'"),
        ({"target": TARGET, "timeout": "2"}, "'timeout'"),
        ({"target": TARGET, "contains": 5}, "'contains'"),
        ({"target": {"admin": "x"}}, "'target'"),
        ({"target": "127.0.0.1:80"}, "'target'"),
        ({"url": "ftp://127.0.0.1/"}, "'url'"),
        ({"url": "http://127.0.0.1/", "path": "/x"}, "'path'"),
    ],
)
def test_a_wrong_setting_is_named_when_it_is_built(settings, named) -> None:
    with pytest.raises(InvalidInput, match=named) as caught:
        create(UNIT, settings, None)
    assert caught.value.todo
    assert caught.value.where == str(UNIT)


def test_a_signal_that_asks_nobody_is_refused() -> None:
    with pytest.raises(InvalidInput, match="whom to ask"):
        create(UNIT, {"path": "/"}, None).begin(RATIO)
