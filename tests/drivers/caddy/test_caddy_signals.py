"""Counting on a real Caddy: each request once, through reloads, and only this unit's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.drivers.caddy import driver as caddy_driver
from lastgood.drivers.caddy import metrics
from lastgood.drivers.caddy.driver import create
from lastgood.drivers.caddy.settings import Settings
from lastgood.ports.drivers import GivesEvidence, Observes
from lastgood.ports.traffic import Destination
from lastgood.testing.caddy_server import free_port
from lastgood.testing.conformance_measures import settled

UNIT = UnitId("storefront", "prod", "us")
SERVER = "lastgood-storefront.prod.us"
RATIO = Signal("answered", SignalKind.RATIO, "caddy")
GAUGE = Signal("latency", SignalKind.GAUGE, "caddy", {"quantile": 0.5})


@pytest.fixture
def driver(lab, red):
    driver = lab.build()
    driver.install()
    driver.route(red)
    return driver


def test_errors_that_caddy_makes_itself_count(lab, driver) -> None:
    cursor = driver.begin(RATIO)
    for status in (200, 301, 404, 500, 503):
        assert lab.ask(f"/?status={status}")[0] == status
    driver.route(Destination("dead", (f"127.0.0.1:{free_port()}",)))
    assert lab.ask()[0] == 502
    driver.route(Destination())
    assert lab.ask()[0] == 503
    reading = settled(driver, RATIO, cursor, 7)
    assert (reading.good, reading.error) == (3, "")


def test_the_codes_that_are_bad_can_be_named(lab, driver) -> None:
    signal = Signal("found", SignalKind.RATIO, "caddy", {"codes": [404, "5xx"], "target": {}})
    cursor = driver.begin(signal)
    for status in (200, 404, 403, 503):
        lab.ask(f"/?status={status}")
    assert settled(driver, signal, cursor, 4).good == 2


def test_our_own_questions_and_other_units_do_not_count(lab, driver, blue) -> None:
    other = lab.beside("erp-sync")
    other.build().install()
    other.build().route(blue)
    cursor = driver.begin(RATIO)
    for _ in range(5):
        driver.current()
        assert other.ask() == (200, "blue")
    lab.ask()
    assert settled(driver, RATIO, cursor, 1).good == 1
    assert driver.read(RATIO, cursor).total == 1


def test_counts_go_on_through_a_reload_and_a_restart(lab, driver) -> None:
    cursor = driver.begin(RATIO)
    for _ in range(3):
        lab.ask()
    first = settled(driver, RATIO, cursor, 3)
    lab.beside("erp-sync").build().install()
    for _ in range(4):
        lab.ask("/?status=500")
    second = settled(driver, RATIO, first.cursor, 7)
    lab.server.restart()
    lab.ask()
    third = settled(driver, RATIO, second.cursor, 8)
    assert (first.good, second.good, third.good) == (3, 3, 4)


def test_more_requests_after_a_reload_than_before_are_all_counted(lab, driver) -> None:
    """A counter that overtook its old value looks as if it had never begun again."""
    cursor = driver.begin(RATIO)
    lab.ask()
    first = settled(driver, RATIO, cursor, 1)
    lab.beside("erp-sync").build().install()
    for _ in range(5):
        lab.ask()
    assert settled(driver, RATIO, first.cursor, 6).good == 6


def test_latency_is_in_milliseconds_and_none_without_requests(lab, driver) -> None:
    begun = driver.begin(GAUGE)
    first = driver.read(GAUGE, begun)
    assert (first.value, first.error, first.total) == (None, "", 0)
    for _ in range(3):
        lab.ask("/?delay=0.3")
    ratio = driver.begin(RATIO)
    lab.ask()
    settled(driver, RATIO, ratio, 1)
    reading = driver.read(GAUGE, first.cursor)
    assert reading.value is not None
    assert 250 <= reading.value <= 500
    assert driver.read(GAUGE, reading.cursor).value is None


def test_a_route_that_is_gone_or_not_counted_is_told(lab, driver) -> None:
    cursor = driver.begin(RATIO)
    lab.config("DELETE", "apps/http/metrics")
    lab.ask()
    reading = driver.read(RATIO, cursor)
    assert (reading.total, reading.error) == (0, "metrics are off in Caddy")
    driver.install()
    assert driver.read(RATIO, reading.cursor).error == ""
    lab.config("DELETE", f"apps/http/servers/{SERVER}")
    assert driver.read(RATIO, cursor).error == "the route is not installed in Caddy"


def test_evidence_is_given_without_secrets(lab, driver) -> None:
    assert isinstance(driver, GivesEvidence)
    assert isinstance(driver, Observes)
    lab.ask("/?status=500")
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert json.loads(items["caddy-server.json"])["listen"] == [lab.listen]
    assert f'server="{SERVER}"' in items["caddy-metrics.txt"]
    assert items["caddy-pointer.txt"].endswith(" red\n")
    assert items["caddy-response.txt"].startswith("HTTP/1.1 200\n")
    assert items["caddy-response.txt"].endswith("\nred\n")
    assert "topsecret" not in items["caddy-response.txt"]


def test_evidence_of_a_dead_caddy_says_so(lab, driver) -> None:
    lab.server.kill()
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert items["caddy-pointer.txt"].endswith(" red\n")
    for name in ("caddy-server.json", "caddy-metrics.txt"):
        assert "does not answer" in items[name]
    assert "no response" in items["caddy-response.txt"]


def test_quantiles_interpolate_within_their_bucket() -> None:
    def counters(*counts: int) -> metrics.Counters:
        return metrics.Counters("1", {}, dict(zip(("0.1", "0.2", "+Inf"), counts, strict=True)))

    cursor = metrics.begin(counters(10, 10, 10))
    assert metrics.quantile(cursor, counters(20, 20, 20), 0.5) == pytest.approx(50)
    assert metrics.quantile(cursor, counters(10, 20, 20), 0.5) == pytest.approx(150)
    assert metrics.quantile(cursor, counters(10, 10, 20), 0.5) == pytest.approx(200)
    assert metrics.quantile(cursor, counters(10, 10, 10), 0.5) is None


BASE = {"admin": "http://127.0.0.1:2019", "listen": "127.0.0.1:80", "pointers": "/run/lastgood"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"admin": None}, "admin"),
        ({"listen": None}, "listen"),
        ({"pointers": None}, "pointers"),
        ({"admin": "127.0.0.1:2019"}, "admin"),
        ({"admin": "https://127.0.0.1:2019"}, "admin"),
        ({"listen": "8080"}, "listen"),
        ({"listen": 8080}, "listen"),
        ({"listen": "127.0.0.1:70000"}, "listen"),
        ({"pointers": "relative"}, "pointers"),
        ({"pointers": "/a/{b}"}, "pointers"),
        ({"pointers": "/a/../b"}, "pointers"),
        ({"server": "a/b"}, "server"),
        ({"generation_header": "yes"}, "generation_header"),
        ({"upstream": "x"}, "upstream"),
    ],
)
def test_a_wrong_setting_is_named(changes, named) -> None:
    values = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    with pytest.raises(InvalidInput, match=f"'{named}'") as caught:
        Settings.of(UNIT, values)
    assert caught.value.todo
    assert caught.value.where == str(UNIT)


@pytest.mark.parametrize("settings", [{"codes": ["6xx"]}, {"codes": []}, {"quantile": 0.5}, {"limit": 1}])
def test_a_wrong_signal_setting_is_refused(settings) -> None:
    driver = create(UNIT, BASE, None)
    with pytest.raises(InvalidInput):
        driver.begin(Signal("answered", SignalKind.RATIO, "caddy", settings))


def test_it_is_built_for_a_signal_from_the_traffic_settings() -> None:
    assert create(UNIT, {"codes": ["5xx"], "target": BASE}, None).address() == "127.0.0.1:80"


def test_the_example_of_the_readme_works() -> None:
    readme = (Path(caddy_driver.__file__).parent / "README.md").read_text()
    example = readme.split("```yaml")[1].split("```")[0]
    traffic = YAML(typ="safe").load(example)["traffic"]
    assert create(UNIT, traffic["settings"], None).address() == "127.0.0.1:8080"


@pytest.mark.parametrize("value", [0, 1, "0.5", True])
def test_a_wrong_quantile_is_refused(value) -> None:
    driver = create(UNIT, BASE, None)
    with pytest.raises(InvalidInput, match="quantile"):
        driver.begin(Signal("latency", SignalKind.GAUGE, "caddy", {"quantile": value}))
