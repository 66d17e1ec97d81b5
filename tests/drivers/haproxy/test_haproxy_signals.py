"""Counting on a real HAProxy: each request once, through reloads, and only what was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy import driver as haproxy_driver
from lastgood.drivers.haproxy.driver import create
from lastgood.drivers.haproxy.weights import weights_for
from lastgood.ports.drivers import GivesEvidence, Measures, Observes
from lastgood.ports.traffic import Destination, Share
from lastgood.testing.caddy_server import free_port
from lastgood.testing.conformance_measures import settled
from lastgood.testing.haproxy_server import Backend
from tests.drivers.haproxy.conftest import Lab

RATIO = Signal("answered", SignalKind.RATIO, "haproxy")
GAUGE = Signal("latency", SignalKind.GAUGE, "haproxy")


def of(generation: str, kind: SignalKind = SignalKind.RATIO) -> Signal:
    return Signal("canary", kind, "haproxy", {"generation": generation})


@pytest.fixture
def driver(lab, red):
    driver = lab.build()
    driver.install()
    driver.route(red)
    return driver


def test_errors_that_haproxy_makes_itself_count(lab, driver) -> None:
    cursor = driver.begin(RATIO)
    for status in (200, 301, 404, 500, 503):
        assert lab.ask(f"/?status={status}")[0] == status
    driver.route(Destination())
    assert lab.ask()[0] == 503
    reading = settled(driver, RATIO, cursor, 6)
    assert (reading.good, reading.error) == (3, "")


def test_the_classes_that_are_bad_can_be_named(lab, driver) -> None:
    signal = Signal("found", SignalKind.RATIO, "haproxy", {"codes": ["4xx", "5xx"], "target": {}})
    cursor = driver.begin(signal)
    for status in (200, 404, 403, 503):
        lab.ask(f"/?status={status}")
    assert settled(driver, signal, cursor, 4).good == 1


def test_only_this_unit_and_only_the_generation_that_is_asked_for_count(lab, driver, red, blue) -> None:
    driver.split([Share(red, 50.0), Share(blue, 50.0)])
    cursors = {name: driver.begin(of(name)) for name in ("red", "blue", "unknown")}
    whole = driver.begin(RATIO)
    answers = [lab.ask("/?status=404")[1] for _ in range(20)]
    assert settled(driver, RATIO, whole, 20).good == 20
    for name, cursor in cursors.items():
        assert settled(driver, of(name), cursor, answers.count(name)).good == answers.count(name)
    assert (answers.count("red"), answers.count("blue")) == (10, 10)


def test_another_unit_does_not_count(bare, red, blue) -> None:
    other = Lab(bare.server, bare.state, UnitId("erp-sync", "prod", "us"))
    bare.server.serve(Backend(bare.settings()), Backend(other.settings()))
    for lab, destination in ((bare, red), (other, blue)):
        lab.build().install()
        lab.build().route(destination)
    cursor = bare.build().begin(RATIO)
    assert other.ask() == (200, "blue")
    assert bare.ask() == (200, "red")
    assert settled(bare.build(), RATIO, cursor, 1).good == 1
    assert bare.build().read(RATIO, cursor).total == 1


def test_a_server_that_nobody_reaches_is_bad_though_another_answers(bare, red) -> None:
    """What a canary breaks is hidden from customers by the redispatch, and counts all the same."""
    bare.serve()
    bare.server.config.write_text(bare.server.config.read_text().replace("check inter 50ms", "no-check"))
    bare.server.reload()
    driver = bare.build()
    driver.install()
    driver.route(red)
    dead = Destination("dead", (f"127.0.0.1:{free_port()}",))
    driver.split([Share(red, 50.0), Share(dead, 50.0)])
    cursor, whole = driver.begin(of("dead")), driver.begin(RATIO)
    assert {bare.ask() for _ in range(10)} == {(200, "red")}
    reading = driver.read(of("dead"), cursor)
    assert reading.total >= 5
    assert reading.good == 0
    assert settled(driver, RATIO, whole, 10).good == 10


def test_a_response_that_breaks_off_is_bad_and_counts_once(lab, driver) -> None:
    cursors = [(signal, driver.begin(signal)) for signal in (RATIO, of("red"))]
    with pytest.raises(Exception, match="IncompleteRead"):
        lab.ask("/?length=1000")
    lab.ask()
    for signal, cursor in cursors:
        assert settled(driver, signal, cursor, 2).good == 1


def test_counts_go_on_through_a_reload_and_a_restart(lab, driver) -> None:
    for signal in (RATIO, of("red")):
        cursor = driver.begin(signal)
        for _ in range(3):
            lab.ask()
        first = settled(driver, signal, cursor, 3)
        lab.server.reload()
        for _ in range(5):
            lab.ask("/?status=500")
        second = settled(driver, signal, first.cursor, 8)
        lab.server.restart()
        lab.ask()
        third = settled(driver, signal, second.cursor, 9)
        assert (first.good, second.good, third.good) == (3, 3, 4)


def test_a_slot_filled_anew_counts_for_its_new_generation_only(bare, red, blue, green) -> None:
    bare.serve(slots=4)
    driver = bare.build()
    driver.install()
    driver.route(red)
    for _ in range(4):
        bare.ask("/?status=500")
    driver.route(blue)
    cursor = driver.begin(of("green"))
    begun = driver.read(of("green"), cursor)
    assert (begun.total, begun.error) == (0, "")
    driver.route(green)
    first = driver.read(of("green"), begun.cursor)
    for _ in range(4):
        bare.ask()
    reading = settled(driver, of("green"), first.cursor, 4)
    assert reading.good == 4


def test_latency_is_in_milliseconds_and_none_without_requests(lab, driver, blue) -> None:
    begun = driver.begin(GAUGE)
    first = driver.read(GAUGE, begun)
    assert (first.value, first.error, first.total) == (None, "", 0)
    canary = driver.begin(of("red", SignalKind.GAUGE))
    for _ in range(3):
        lab.ask("/?delay=0.2")
    ratio = driver.begin(RATIO)
    lab.ask("/?delay=0.2")
    settled(driver, RATIO, ratio, 1)
    reading = driver.read(GAUGE, first.cursor)
    assert reading.value is not None
    assert 150 <= reading.value <= 5000
    assert driver.read(GAUGE, reading.cursor).value is None
    seen = driver.read(of("red", SignalKind.GAUGE), canary)
    assert seen.value is not None
    assert 150 <= seen.value <= 5000


@pytest.mark.parametrize(
    "settings",
    [
        {"codes": ["503"]},
        {"codes": ["6xx"]},
        {"codes": []},
        {"quantile": 0.5},
        {"generation": 1},
        {"limit": 1},
    ],
)
def test_a_wrong_signal_setting_is_refused(driver, settings) -> None:
    with pytest.raises(InvalidInput) as caught:
        driver.begin(Signal("answered", SignalKind.RATIO, "haproxy", settings))
    assert caught.value.todo
    with pytest.raises(InvalidInput):
        driver.begin(Signal("latency", SignalKind.GAUGE, "haproxy", {"quantile": 0.95}))


def test_evidence_and_observation_say_what_is_there(lab, driver, red) -> None:
    assert isinstance(driver, GivesEvidence)
    assert isinstance(driver, Observes)
    assert isinstance(driver, Measures)
    facts = driver.observe().facts
    assert facts["shares"] == {str(lab.server.socket): {"red": 100.0}}
    assert facts["servers"][str(lab.server.socket)]["lg1"] == f"{red.addresses[0]} ready 1"
    assert facts["saved for the next start"] is True
    assert driver.observe().fingerprint == driver.observe().fingerprint
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert json.loads(items["haproxy-observed.json"])["backend"] == "storefront.prod.us"
    assert "storefront.prod.us,lg1" in items["haproxy-stat.csv"]
    assert red.addresses[0].split(":")[1] in items["haproxy-servers.txt"]
    assert "Uptime" in items["haproxy-info.txt"]


def edges(old: int, new: int) -> tuple[tuple[int, int, int, int], ...]:
    """Weights are 1 to 256: with them no share is smaller or larger than this."""
    return (new, 1, old, 256), (new, 256, old, 1)


@pytest.mark.parametrize("percent", [0.5, 1, 2, 3, 5, 10, 25, 33, 50, 75, 99])
@pytest.mark.parametrize(("old", "new"), [(1, 1), (2, 2), (3, 1), (2, 5)])
def test_weights_miss_their_share_by_little(percent, old, new) -> None:
    weights = weights_for(
        [(100 - percent, {f"old{n}": 1 for n in range(old)}), (percent, {f"new{n}": 1 for n in range(new)})]
    )
    share = 100 * sum(w for name, w in weights.items() if name.startswith("new")) / sum(weights.values())
    least, most = (100 * n * light / (n * light + o * heavy) for n, light, o, heavy in edges(old, new))
    assert share == pytest.approx(min(max(percent, least), most), abs=0.1)
    assert 128 <= max(weights.values()) <= 256
    assert min(weights.values()) >= 1


def test_the_example_of_the_readme_works(tmp_path) -> None:
    class Tools:
        directory = tmp_path

    readme = (Path(haproxy_driver.__file__).parent / "README.md").read_text()
    example = readme.split("```yaml")[1].split("```")[0]
    traffic = YAML(typ="safe").load(example)["traffic"]
    driver = create(UnitId("storefront", "prod", "us"), traffic["settings"], Tools())
    assert driver.address() == "127.0.0.1:8080"
