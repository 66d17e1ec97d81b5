"""What only this driver promises about traffic: reloads, other writers, crashes, full disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected, Unreachable
from lastgood.drivers.caddy import pointer
from lastgood.drivers.caddy.admin import Admin
from lastgood.drivers.caddy.config import Write, find_server
from lastgood.ports.traffic import Destination
from lastgood.testing.caddy_server import free_port

SERVER = "lastgood-storefront.prod.us"


def test_installing_again_and_flipping_make_no_reload(lab, red, blue) -> None:
    before = lab.server.loads()
    lab.build().install()
    assert lab.server.loads() == before + 1
    for destination in (red, blue):
        lab.build().install()
        lab.build().route(destination)
    lab.build().route(Destination())
    assert lab.server.loads() == before + 1


def test_a_config_of_somebody_else_stays_as_it_is(lab, red) -> None:
    foreign = {
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {
                "grace_period": 3000000000,
                "servers": {"blog": {"listen": [f"127.0.0.1:{free_port()}"], "routes": []}},
            }
        },
    }
    lab.config("POST", "", foreign)
    lab.build().install()
    there = lab.config()
    del there["apps"]["http"]["servers"][SERVER]
    assert there["apps"]["http"].pop("metrics") == {}
    assert there == foreign


@pytest.mark.parametrize(
    "config", [None, {}, {"apps": {}}, {"apps": {"http": {}}}, {"apps": {"http": {"servers": {}}}}]
)
def test_it_installs_into_any_beginning(lab, red, config) -> None:
    if config is not None:
        lab.config("POST", "", config)
    driver = lab.build()
    driver.install()
    driver.route(red)
    assert lab.ask() == (200, "red")


def test_two_units_do_not_disturb_each_other(lab, red, blue) -> None:
    other = lab.beside("erp-sync")
    for unit, destination in ((lab, red), (other, blue)):
        unit.build().install()
        unit.build().route(destination)
    assert (lab.ask(), other.ask()) == ((200, "red"), (200, "blue"))
    other.build().route(Destination())
    assert (lab.ask(), other.ask()[0]) == ((200, "red"), 503)
    assert (lab.build().current(), other.build().current()) == (red, Destination())


def test_writers_at_the_same_time_lose_nothing(lab) -> None:
    """Each of ours may write the whole http app; the foreign one adds servers without asking."""
    lab.config("POST", "", {"apps": {"http": {"servers": {}}}})
    units = [lab.beside(f"service-{number}") for number in range(6)]
    failures: list[Exception] = []

    def install(unit) -> None:
        try:
            unit.build().install()
        except Rejected as error:
            failures.append(error)

    def foreign() -> None:
        admin = Admin(lab.server.admin)
        for number in range(6):
            server = {"listen": [f"127.0.0.1:{free_port()}"], "routes": []}
            write = Write("PUT", f"/config/apps/http/servers/foreign-{number}", server)
            while not admin.write(write, "") and not find_server(admin.config()[0], f"foreign-{number}"):
                continue

    threads = [threading.Thread(target=install, args=(unit,)) for unit in units]
    threads.append(threading.Thread(target=foreign))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {f"lastgood-service-{n}.prod.us" for n in range(6)} | {f"foreign-{n}" for n in range(6)}
    assert set(lab.config()["apps"]["http"]["servers"]) == expected


def test_a_write_on_a_stale_look_is_not_done(lab) -> None:
    admin = Admin(lab.server.admin)
    _, etag = admin.config()
    lab.config("POST", "", {"apps": {"http": {"servers": {}}}})
    assert admin.write(Write("POST", "/config/", {"apps": {}}), etag) is False
    assert lab.config() == {"apps": {"http": {"servers": {}}}}


@pytest.mark.parametrize("resume", [True, False])
def test_killed_and_started_again_it_goes_where_it_went(lab, red, resume) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    lab.server.kill()
    with pytest.raises(Unreachable):
        driver.current()
    lab.server.start(resume=resume)
    assert driver.current() == (red if resume else Destination())
    driver.install()
    assert driver.current() == red
    assert lab.ask() == (200, "red")


def test_with_caddy_down_nothing_is_changed(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    lab.server.kill()
    for call in (driver.install, driver.current, lambda: driver.route(blue), driver.observe):
        with pytest.raises(Unreachable) as caught:
            call()
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert caught.value.todo
    assert pointer.parse((lab.pointers / lab.unit.slug).read_text()) == red


def test_the_way_back_needs_no_admin_api(lab, red, blue) -> None:
    lab.build().install()
    driver = lab.build(admin=f"http://127.0.0.1:{free_port()}")
    driver.route(red)
    driver.route(blue)
    assert driver.current() == blue
    assert lab.ask() == (200, "blue")
    with pytest.raises(Unreachable):
        driver.install()


def test_a_route_changed_by_hand_is_not_believed(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    seen = driver.observe()
    assert driver.observe().fingerprint == seen.fingerprint
    diverted = {"handle": [{"handler": "static_response", "body": "elsewhere"}]}
    lab.config("PUT", f"apps/http/servers/{SERVER}/routes/0", diverted)
    lab.config("POST", f"apps/http/servers/{SERVER}/read_timeout", 7000000000)
    with pytest.raises(Rejected, match="changed by hand"):
        driver.current()
    after = driver.observe()
    assert (after.facts["route"], seen.facts["route"]) == ("changed", "installed")
    assert after.fingerprint != seen.fingerprint
    driver.install()
    assert driver.current() == red
    assert lab.config()["apps"]["http"]["servers"][SERVER]["read_timeout"] == 7000000000


def test_a_port_in_use_is_told_and_nothing_changed(lab, red) -> None:
    lab.config("POST", "", {"apps": {"http": {"servers": {}}}})
    taken = lab.build(listen=red.addresses[0])
    with pytest.raises(Rejected, match="address already in use"):
        taken.install()
    assert lab.config() == {"apps": {"http": {"servers": {}}}}
    with pytest.raises(Rejected, match="not installed"):
        taken.route(red)


def test_something_else_at_the_address_is_noticed(lab, red, blue) -> None:
    lab.build().install()
    mistaken = lab.build(listen=blue.addresses[0])
    with pytest.raises(Rejected, match="something else answers"):
        mistaken.route(red)


def test_a_pointer_that_caddy_does_not_read_is_noticed(lab, red, blue, tmp_path) -> None:
    lab.build().install()
    lab.build().route(red)
    (tmp_path / "moved").mkdir()
    with pytest.raises(Rejected, match="does not read") as caught:
        lab.build(pointers=str(tmp_path / "moved")).route(blue)
    assert caught.value.cause is Cause.PERMISSION
    assert lab.ask() == (200, "red")


@pytest.mark.parametrize(
    "line", [None, "", "\n", "127.0.0.1:1", "x y\n", "127.0.0.1:1 a b\n", "{env.HOME}:1\n"]
)
def test_a_pointer_that_is_no_destination_is_nowhere(lab, line) -> None:
    driver = lab.build()
    driver.install()
    path = lab.pointers / lab.unit.slug
    if line is None:
        path.unlink()
    else:
        path.write_text(line)
    assert driver.current() == Destination()
    status, headers, _ = lab.response()
    assert (status, headers.get("Retry-After")) == (503, "5")


def test_a_dead_upstream_fails_at_once(lab, red) -> None:
    driver = lab.build()
    driver.install()
    driver.route(Destination("dead", (f"127.0.0.1:{free_port()}",)))
    begun = time.monotonic()
    assert lab.ask()[0] == 502
    assert time.monotonic() - begun < 1.0
    driver.route(red)
    assert lab.ask() == (200, "red")


def test_an_open_request_ends_where_it_began(lab, red, blue, eventually) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    slow: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: slow.append(lab.ask("/?delay=1")))
    thread.start()
    flight = f'caddy_http_requests_in_flight{{handler="reverse_proxy",server="{SERVER}"}} 1'
    eventually(lambda: flight in Admin(lab.server.admin).metrics())
    driver.route(blue)
    assert lab.ask() == (200, "blue")
    assert thread.is_alive()
    thread.join()
    assert slow == [(200, "red")]


def test_responses_name_their_generation_only_when_asked_to(lab, red) -> None:
    lab.build().install()
    lab.build().route(red)
    assert "X-Lastgood-Generation" not in lab.response()[1]
    lab.build(generation_header=True).install()
    assert lab.response()[1]["X-Lastgood-Generation"] == "red"


def test_the_admin_api_may_be_a_unix_socket(lab, red) -> None:
    with tempfile.TemporaryDirectory(prefix="lastgood-") as directory:
        path = f"{directory}/admin.sock"
        lab.config("POST", "", {"admin": {"listen": f"unix/{path}"}})
        driver = lab.build(admin=path)
        driver.install()
        driver.route(red)
        assert driver.current() == red


@pytest.mark.parametrize(
    "destination",
    [
        Destination("a b", ("127.0.0.1:1",)),
        Destination("a\nb", ("127.0.0.1:1",)),
        Destination("a", ("127.0.0.1",)),
        Destination("a", ("127.0.0.1:0",)),
        Destination("a", ("127.0.0.1:99999",)),
        Destination("a", ("{env.X}:1",)),
        Destination("-", ("127.0.0.1:1",)),
        Destination("a"),
    ],
)
def test_what_is_no_destination_is_refused(lab, red, destination) -> None:
    lab.build().install()
    lab.build().route(red)
    with pytest.raises(InvalidInput):
        lab.build().route(destination)
    assert lab.build().current() == red


def test_pointers_that_are_no_directory(lab, red, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected) as caught:
        lab.build(pointers=str(tmp_path / "file")).install()
    assert caught.value.cause is Cause.WRONG_PATH
    lab.build().install()
    (lab.pointers / lab.unit.slug).unlink()
    (lab.pointers).rmdir()
    with pytest.raises(Rejected) as caught:
        lab.build().route(red)
    assert caught.value.cause is Cause.WRONG_PATH


ROUTE = """
import json, os, resource, sys
from lastgood.domain.errors import Rejected
from lastgood.domain.unit import UnitId
from lastgood.drivers.caddy.driver import create
from lastgood.ports.traffic import Destination

settings, destinations, how = json.loads(sys.argv[1])
driver = create(UnitId("storefront", "prod", "us"), settings, None)
driver.current()  # everything is imported before the user changes
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
if how == "nobody" and os.geteuid() == 0:
    os.setuid(65534)
print("ready", flush=True)
try:
    while True:
        for generation, addresses in destinations:
            driver.route(Destination(generation, tuple(addresses)))
        if how != "loop":
            break
except Rejected as error:
    print(error.cause.value if error.cause else "no cause", "|", error)
"""


def child(lab, how: str, *destinations: Destination) -> subprocess.Popen[bytes]:
    settings = {"admin": lab.server.admin, "listen": lab.listen, "pointers": str(lab.pointers)}
    given = json.dumps([settings, [(d.generation, d.addresses) for d in destinations], how])
    return subprocess.Popen([sys.executable, "-c", ROUTE, given], stdout=subprocess.PIPE)


@pytest.mark.parametrize(("how", "told"), [("full", "no cause | "), ("nobody", "permission | ")])
def test_a_pointer_that_cannot_be_written_stays_as_it_was(lab, red, blue, how, told) -> None:
    """A full disk is played by a file size limit of 0: write() fails in the same place."""
    lab.build().install()
    lab.build().route(red)
    if os.geteuid() != 0:
        lab.pointers.chmod(0o555)
    output = child(lab, how, blue).communicate()[0].decode()
    lab.pointers.chmod(0o755)
    assert output.startswith(f"ready\n{told}")
    assert [path.name for path in lab.pointers.iterdir()] == [lab.unit.slug]
    assert lab.build().current() == red


def test_killed_while_flipping_the_pointer_is_whole(lab, red, blue) -> None:
    lab.build().install()
    path: Path = lab.pointers / lab.unit.slug
    for _ in range(5):
        process = child(lab, "loop", red, blue)
        assert process.stdout is not None
        process.stdout.readline()
        seen = set()
        deadline = time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < deadline:
            seen.add(path.read_text())
        process.kill()
        process.communicate()
        assert pointer.parse(path.read_text()) in (red, blue)
        assert lab.build().current() in (red, blue)


def test_what_a_killed_writer_left_is_swept(lab, red, blue) -> None:
    lab.build().install()
    old = lab.pointers / f".{lab.unit.slug}.new-dead"
    young = lab.pointers / f".{lab.unit.slug}.new-alive"
    other = lab.pointers / ".other.prod.us.new-dead"
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1, 1))
    lab.build().route(red)
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)
