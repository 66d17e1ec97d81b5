"""What only this driver promises about traffic: no reload for a flip, several instances, by hand."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.unit import UnitId
from lastgood.drivers.nginx.driver import create
from lastgood.drivers.nginx.routes import KEPT, VIEW_HEADER
from lastgood.ports.bundles import BundlesTraffic
from lastgood.ports.traffic import Destination, DrainsTraffic, Share
from lastgood.testing.caddy_server import free_port


@pytest.fixture
def driver(lab, red):
    driver = lab.build()
    driver.install()
    driver.route(red)
    return driver


def test_only_an_upstream_that_is_new_needs_a_reload(lab, driver, red, blue) -> None:
    before = lab.server.accepting()
    for _ in range(2):
        lab.build().install()
        driver.route(red)
    assert lab.server.accepting() == before
    driver.route(blue)
    after = lab.server.accepting()
    assert not after & before
    for destination in (red, Destination(), blue, red):
        driver.install()
        driver.route(destination)
    driver.split([Share(red, 40), Share(blue, 60)])
    assert lab.server.accepting() == after


def test_the_files_say_who_gets_the_requests(lab, driver, red) -> None:
    text = lab.file.read_text()
    assert f"# generation red\nupstream lastgood_{lab.unit.slug}." in text
    assert f"server {red.addresses[0]};" in text
    assert lab.link.readlink().name.startswith("red.")


def test_two_units_do_not_disturb_each_other(lab, driver, red, blue) -> None:
    other = lab.beside("erp-sync")
    other.build().install()
    other.build().route(blue)
    assert (lab.ask(), other.ask()) == ((200, "red"), (200, "blue"))
    other.build().route(Destination())
    assert (lab.ask(), other.ask()[0]) == ((200, "red"), 503)
    assert (lab.build().current(), other.build().current()) == (red, Destination())


def test_a_cache_of_open_files_holds_nobody_back(lab, red, blue) -> None:
    lab.server.http = "open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;"
    lab.server.write_conf()
    driver = lab.build()
    driver.install()
    for destination in (red, blue, red, blue):
        driver.route(destination)
        assert {lab.ask() for _ in range(8)} == {(200, destination.generation)}


def test_nowhere_says_when_to_come_again(lab, driver) -> None:
    driver.route(Destination())
    status, headers, _ = lab.response()
    assert (status, headers["Retry-After"]) == (503, "5")


def test_an_instance_that_dies_is_left_out(lab, red, blue) -> None:
    several = Destination(
        "green", tuple(sorted((*red.addresses, *blue.addresses, f"127.0.0.1:{free_port()}")))
    )
    driver = lab.build(upstream_options=["least_conn", "keepalive 4"])
    driver.install()
    driver.route(several)
    assert driver.current() == several
    answers = [lab.ask() for _ in range(30)]
    assert set(answers) == {(200, "red"), (200, "blue")}
    block = lab.file.read_text().split("upstream lastgood_")[1]
    assert "\n    least_conn;\n    keepalive 4;\n}" in block


def test_a_generation_keeps_the_options_it_began_with(lab, driver, red, blue) -> None:
    """Else the way back from changed settings would need a reload."""
    before = lab.file.read_text()
    changed = lab.build(upstream_options=["keepalive 4"])
    changed.install()
    assert lab.file.read_text() == before
    changed.route(blue)
    workers = lab.server.accepting()
    driver.install()
    driver.route(red)
    assert lab.server.accepting() == workers
    blocks = lab.file.read_text().split("\nupstream ")[1:]
    assert ["keepalive 4;" in block for block in blocks] == [False, True]


def test_changed_settings_come_into_effect_at_the_next_install(lab, driver) -> None:
    lab.build(split_on="$remote_addr").install()
    assert '"1$remote_addr"' in lab.file.read_text()
    assert lab.ask() == (200, "red")


def test_a_visitor_stays_on_his_side_of_a_canary(lab, red, blue) -> None:
    driver = lab.build(split_on="$arg_visitor")
    driver.install()
    driver.split([Share(red, 80), Share(blue, 20)])
    early = {n for n in range(40) if lab.ask(f"/?visitor={n}")[1] == "blue"}
    driver.split([Share(red, 40), Share(blue, 60)])
    late = {n for n in range(40) if lab.ask(f"/?visitor={n}")[1] == "blue"}
    assert early < late


def test_what_was_used_last_stays_known(lab, driver, red) -> None:
    for number in range(KEPT + 2):
        driver.route(Destination(f"g{number}", red.addresses))
    states = {path.name.split(".")[0] for path in lab.link.with_name(f".{lab.unit.slug}").iterdir()}
    assert {f"g{KEPT}", f"g{KEPT + 1}"} <= states
    assert "red" not in states
    assert lab.file.read_text().count("\nupstream ") == KEPT + 2
    driver.route(red)
    assert (driver.current(), lab.ask()) == (red, (200, "red"))


def test_a_name_that_may_vanish_is_known_only_while_it_is_used(lab, driver, red) -> None:
    port = red.addresses[0].rpartition(":")[2]
    driver.route(Destination("named", (f"localhost:{port}",)))
    driver.route(Destination("next", red.addresses))
    assert "localhost" in lab.file.read_text(), "it was used when the next one was made known"
    driver.route(Destination("after", red.addresses))
    assert "localhost" not in lab.file.read_text()


def test_a_connection_from_before_a_reload_is_served(lab, driver, blue) -> None:
    host, _, port = lab.listen.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as early:
        early.sendall(b"GET / HTTP/1.1\r\n")
        driver.route(blue)
        early.sendall(b"Host: x\r\n\r\n")
        assert early.recv(4096).startswith(b"HTTP/1.1 200")


def test_customers_are_not_told(lab, driver) -> None:
    with pytest.raises(Rejected, match="something else answers"):
        lab.build(peers=["192.0.2.0/24"]).install()
    host, _, port = lab.listen.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as customer:
        customer.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\n{VIEW_HEADER}: {lab.unit.slug} 0/0/0\r\n\r\n".encode()
        )
        answer = customer.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"X-Lastgood" not in answer


@pytest.mark.parametrize(
    "destination",
    [
        Destination("a b", ("127.0.0.1:1",)),
        Destination("a\nb", ("127.0.0.1:1",)),
        Destination('a";', ("127.0.0.1:1",)),
        Destination("a", ("127.0.0.1",)),
        Destination("a", ("127.0.0.1:0",)),
        Destination("a", ("127.0.0.1:1; }",)),
        Destination("a", ("127.0.0.1:1", "127.0.0.1:1")),
        Destination("-", ("127.0.0.1:1",)),
        Destination("a", ("",)),
    ],
)
def test_what_is_no_destination_is_refused(lab, driver, red, destination) -> None:
    text = lab.file.read_text()
    with pytest.raises(InvalidInput):
        driver.route(destination)
    assert (driver.current(), lab.file.read_text()) == (red, text)


@pytest.mark.parametrize("percents", [(99.95, 0.05), (33.33, 66.67)])
def test_shares_are_tenths_of_a_percent(lab, driver, red, blue, percents) -> None:
    with pytest.raises(InvalidInput, match="can't be had"):
        driver.split([Share(red, percents[0]), Share(blue, percents[1])])


def test_three_may_share(lab, driver, red, blue) -> None:
    green = Destination("green", red.addresses)
    wanted = [Share(red, 89.9), Share(blue, 10.0), Share(green, 0.1)]
    driver.split(wanted)
    assert driver.shares() == tuple(wanted)
    assert driver.current() == red


def test_where_processes_cannot_be_seen_a_command_reloads(lab, red, blue) -> None:
    command = ["sh", "-c", f"kill -HUP $(cat {lab.server.pid_file})"]
    driver = lab.build(pid=None, reload=command)
    assert not isinstance(driver, DrainsTraffic)
    driver.install()
    for destination in (red, blue, Destination("green", red.addresses)):
        driver.route(destination)
        assert driver.current() == destination
        assert lab.ask()[0] == 200


@pytest.mark.parametrize("service", ["a", "a-b", "x" * 60])
def test_any_name_of_a_unit_will_do(lab, red, service) -> None:
    other = lab.beside(service)
    other.build().install()
    other.build().route(red)
    assert other.ask() == (200, "red")


def test_variables_of_units_differ(lab) -> None:
    units = [
        UnitId("a-b", "c", "d"),
        UnitId("a", "b-c", "d"),
        UnitId("a", "b", "c-d"),
        UnitId("a-", "b", "c-d"),
    ]
    drivers = [create(unit, lab.settings(), None) for unit in units]
    assert len({driver._settings.variable for driver in drivers}) == len(units)


def bundle(driver, directory: Path, generation: str, addresses: str) -> subprocess.CompletedProcess[str]:
    part = driver.bundle_route(generation)
    for name, content in part.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    script = "\n".join(("set -eu", *part.lines))
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "ADDRESSES": addresses}
    return subprocess.run(
        ["/bin/sh", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_lines_of_a_restore_bundle_need_no_lastgood(lab, driver, red, blue, eventually, tmp_path) -> None:
    assert isinstance(driver, BundlesTraffic)
    done = bundle(driver, tmp_path, "blue", " ".join(blue.addresses))
    assert done.returncode == 0, done.stderr
    eventually(lambda: {lab.ask() for _ in range(8)} == {(200, "blue")})
    assert lab.build().current() == blue
    assert lab.build().observe().facts["generation"] == "blue"
    lab.build().install()
    assert (lab.build().current(), lab.ask()) == (blue, (200, "blue"))
    lab.build().route(red)
    assert (lab.build().current(), lab.ask()) == (red, (200, "red"))


def test_a_restore_bundle_that_nginx_refuses_leaves_all_as_it_was(lab, driver, red, tmp_path) -> None:
    text = lab.file.read_text()
    done = bundle(driver, tmp_path, "blue", "no.such.host.invalid:1")
    assert done.returncode != 0
    assert "host not found" in done.stderr
    assert (lab.file.read_text(), lab.build().current()) == (text, red)
