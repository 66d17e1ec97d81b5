"""Counting in a real access log: each request once, through rotation, and only this unit's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.drivers.nginx import driver as nginx_driver
from lastgood.drivers.nginx import log
from lastgood.drivers.nginx.driver import create
from lastgood.drivers.nginx.settings import Settings
from lastgood.ports.drivers import GivesEvidence, Observes
from lastgood.ports.traffic import Destination, DrainsTraffic, Share
from lastgood.testing.caddy_server import free_port
from lastgood.testing.conformance_measures import kept, settled
from lastgood.testing.nginx_server import CONF

UNIT = UnitId("storefront", "prod", "us")
RATIO = Signal("answered", SignalKind.RATIO, "nginx")
GAUGE = Signal("latency", SignalKind.GAUGE, "nginx", {"quantile": 0.5})


@pytest.fixture
def driver(lab, red):
    driver = lab.build()
    driver.install()
    driver.route(red)
    return driver


@pytest.fixture
def path(lab) -> Path:
    return lab.server.log(lab.site)


def test_errors_that_nginx_makes_itself_count(lab, driver) -> None:
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
    signal = Signal("found", SignalKind.RATIO, "nginx", {"codes": [404, "5xx"], "target": {}})
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


def test_a_generation_is_judged_by_its_own_requests(lab, driver, red, blue) -> None:
    driver.split([Share(red, 50), Share(blue, 50)])
    signals = {
        name: Signal(name, SignalKind.RATIO, "nginx", {"generation": name})
        for name in ("red", "blue", "other")
    }
    cursors = {name: driver.begin(signal) for name, signal in signals.items()}
    answers = [lab.ask("/?status=500")[1] for _ in range(30)]
    everything = settled(driver, RATIO, cursors["red"], 30)
    assert everything.good == 0
    for name in ("red", "blue"):
        assert driver.read(signals[name], cursors[name]).total == answers.count(name) > 0
    nothing = driver.read(signals["other"], cursors["other"])
    assert (nothing.total, nothing.error) == (0, "")


def test_an_address_that_another_generation_had_before_is_not_confused(lab, driver, red) -> None:
    lab.ask()
    signal = Signal("new", SignalKind.RATIO, "nginx", {"generation": "green"})
    cursor = driver.begin(signal)
    lab.ask()
    driver.route(Destination("green", red.addresses))
    lab.ask()
    settled(driver, RATIO, cursor, 2)
    assert driver.read(signal, cursor).total == 1


def test_a_rotation_loses_nothing(lab, driver, path) -> None:
    cursor = driver.begin(RATIO)
    lab.ask()
    first = settled(driver, RATIO, cursor, 1)
    lab.ask()
    settled(driver, RATIO, first.cursor, 2)
    path.rename(path.with_name(f"{path.name}.1"))
    assert "No such file" in driver.read(RATIO, first.cursor).error
    lab.server.reopen()
    assert driver.read(RATIO, first.cursor).total == 2
    lab.ask("/?status=500")
    reading = settled(driver, RATIO, kept(first.cursor), 3)
    assert (reading.good, reading.error) == (2, "")


def test_a_log_that_is_copied_and_cut_is_read_from_its_beginning(lab, driver, path) -> None:
    cursor = driver.begin(RATIO)
    for _ in range(3):
        lab.ask()
    first = settled(driver, RATIO, cursor, 3)
    shutil.copy(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
    assert driver.read(RATIO, first.cursor).total == 3
    for _ in range(2):
        lab.ask()
    assert settled(driver, RATIO, first.cursor, 5).good == 5


def line(status: int = 200, seconds: str = "0.001", host: str = "") -> str:
    return json.dumps({"status": str(status), "proxy_host": host, "request_time": seconds}) + "\n"


def test_a_log_that_grew_past_its_old_length_after_a_cut_is_seen_as_cut(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_text(line(500) * 3)
    place = log.end_of(path)
    content = line(200) * 5
    path.write_text(content)
    assert len(content) > place["offset"]
    assert [r.status for r in log.look(path, place).requests] == ["200"] * 5


def test_a_file_that_took_over_an_old_number_is_another_file(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_text(line() * 3)
    place = log.end_of(path)
    other = tmp_path / "a.log.1"
    path.rename(other)
    other.write_text(line(500) * 9)
    path.write_text(line(404))
    assert [r.status for r in log.look(path, place).requests] == ["404"]


def test_half_a_line_waits_for_its_other_half(tmp_path) -> None:
    path = tmp_path / "a.log"
    text = line(500)
    path.write_text(line() + text[:20])
    first = log.look(
        path, {"inode": path.stat().st_ino, "offset": 0, "mark": log.end_of(_empty(tmp_path))["mark"]}
    )
    assert [r.status for r in first.requests] == ["200"]
    path.write_text(line() + text)
    assert [r.status for r in log.look(path, first.place).requests] == ["500"]


def _empty(directory: Path) -> Path:
    path = directory / "empty"
    path.write_text("")
    return path


def test_a_long_log_is_read_in_parts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(log, "LIMIT", 3 * len(line()) + 10)
    path = tmp_path / "a.log"
    path.write_text("")
    place = log.end_of(path)
    path.write_text(line() * 10)
    counts = []
    while len(look := log.look(path, place).requests):
        counts.append(len(look))
        place = log.look(path, place).place
    assert counts == [3, 3, 3, 1]


def test_a_log_in_another_format_is_told(lab, driver, path) -> None:
    cursor = driver.begin(RATIO)
    with path.open("a") as file:
        file.write('127.0.0.1 - - "GET / HTTP/1.1" 200 5\n[1]\n{"status":"200"}\n')
    reading = driver.read(RATIO, cursor)
    assert (reading.total, reading.error.endswith("has the log_format of lastgood")) == (0, True)
    lab.ask()
    after = settled(driver, RATIO, reading.cursor, 1)
    assert (after.good, after.error) == (1, "")


def test_latency_is_in_milliseconds_and_none_without_requests(lab, driver) -> None:
    begun = driver.begin(GAUGE)
    first = driver.read(GAUGE, begun)
    assert (first.value, first.error, first.total) == (None, "", 0)
    ratio = driver.begin(RATIO)
    for _ in range(3):
        lab.ask("/?delay=0.3")
    settled(driver, RATIO, ratio, 3)
    reading = driver.read(GAUGE, first.cursor)
    assert reading.value is not None
    assert 290 <= reading.value <= 1000
    assert driver.read(GAUGE, reading.cursor).value is None


def test_quantiles_are_nearest_rank() -> None:
    requests = [log.Request("200", "", n / 1000) for n in range(1, 101)]
    assert [log.quantile(requests, share) for share in (0.5, 0.99, 0.999)] == [50, 99, 100]


def test_evidence_is_given_without_secrets(lab, driver, red) -> None:
    assert isinstance(driver, GivesEvidence)
    assert isinstance(driver, Observes)
    assert lab.ask("/?status=500")[0] == 500
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert "# generation red" in items["nginx-upstreams.conf"]
    assert "# lastgood: begin" in items["nginx-location.conf"]
    assert items["nginx-shares.txt"] == f"100 % red {red.addresses[0]}\n"
    assert items["nginx-response.txt"].startswith("HTTP/1.1 200\n")
    assert items["nginx-response.txt"].endswith("\nred\n")
    assert '"status":"500"' in items["nginx-access.log"]
    assert "start worker process" in items["nginx-error.log"]
    assert not [name for name, text in items.items() if "topsecret" in text]


def test_evidence_of_a_dead_nginx_says_so(lab, driver, path) -> None:
    lab.server.kill()
    path.unlink()
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert "# generation red" in items["nginx-upstreams.conf"]
    assert "does not answer" in items["nginx-shares.txt"]
    assert "no response" in items["nginx-response.txt"]
    assert "No such file" in items["nginx-access.log"]


BASE = {"listen": "127.0.0.1:80", "upstreams": "/etc/nginx/lastgood"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"listen": None}, "listen"),
        ({"listen": "8080"}, "listen"),
        ({"listen": 8080}, "listen"),
        ({"listen": "127.0.0.1:70000"}, "listen"),
        ({"upstreams": None}, "upstreams"),
        ({"upstreams": "relative"}, "upstreams"),
        ({"upstreams": "/a b"}, "upstreams"),
        ({"upstreams": "/a/../b"}, "upstreams"),
        ({"upstreams": "/a;}"}, "upstreams"),
        ({"pid": "nginx.pid"}, "pid"),
        ({"reload": []}, "reload"),
        ({"reload": [1]}, "reload"),
        ({"binary": ""}, "binary"),
        ({"ask": "x"}, "ask"),
        ({"host": "a b"}, "host"),
        ({"path": "x"}, "path"),
        ({"peers": []}, "peers"),
        ({"peers": ["x"]}, "peers"),
        ({"upstream_options": "least_conn"}, "upstream_options"),
        ({"upstream_options": ["least_conn; }"]}, "upstream_options"),
        ({"upstream_options": ["server 10.0.0.1:80"]}, "upstream_options"),
        ({"upstream_options": [""]}, "upstream_options"),
        ({"split_on": "cookie"}, "split_on"),
        ({"cut_after": -1}, "cut_after"),
        ({"cut_after": "1s"}, "cut_after"),
        ({"log": "access.log"}, "log"),
        ({"upstream": "x"}, "upstream"),
    ],
)
def test_a_wrong_setting_is_named(changes, named) -> None:
    values = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    with pytest.raises(InvalidInput, match=f"'{named}'") as caught:
        Settings.of(UNIT, values)
    assert caught.value.todo
    assert caught.value.where == str(UNIT)


@pytest.mark.parametrize(
    "settings",
    [{"codes": ["6xx"]}, {"codes": []}, {"quantile": 0.5}, {"limit": 1}, {"generation": 1}],
)
def test_a_wrong_signal_setting_is_refused(settings, tmp_path) -> None:
    driver = create(UNIT, {**BASE, "log": str(tmp_path / "a.log")}, None)
    with pytest.raises(InvalidInput):
        driver.begin(Signal("answered", SignalKind.RATIO, "nginx", settings))


@pytest.mark.parametrize("value", [0, 1, "0.5", True])
def test_a_wrong_quantile_is_refused(value) -> None:
    with pytest.raises(InvalidInput, match="'quantile'"):
        create(UNIT, BASE, None).begin(Signal("latency", SignalKind.GAUGE, "nginx", {"quantile": value}))


def test_a_signal_needs_a_log() -> None:
    with pytest.raises(InvalidInput, match="'log'"):
        create(UNIT, BASE, None).begin(RATIO)


def test_it_is_built_for_a_signal_from_the_traffic_settings() -> None:
    assert create(UNIT, {"codes": ["5xx"], "target": BASE}, None).address() == "127.0.0.1:80"
    assert create(UNIT, {**BASE, "listen": "0.0.0.0:80"}, None).address() == "127.0.0.1:80"


def readme(kind: str) -> str:
    text = (Path(nginx_driver.__file__).parent / "README.md").read_text()
    return text.split(f"```{kind}\n")[1].split("```")[0]


def test_the_example_of_the_readme_works() -> None:
    traffic = YAML(typ="safe").load(readme("yaml"))["traffic"]
    driver = create(UNIT, traffic["settings"], None)
    assert driver.address() == "127.0.0.1:8080"
    assert isinstance(driver, DrainsTraffic)


def test_the_configuration_of_the_readme_is_the_one_of_the_tests() -> None:
    """Without the places, which differ."""
    wanted = {
        part.strip() for part in readme("nginx").split("\n") if "log_format" in part or "$upstream" in part
    }
    tested = {part.strip().replace("{{", "{").replace("}}", "}") for part in CONF.split("\n")}
    assert len(wanted) == 2
    assert wanted <= tested
