"""What only this driver promises about traffic: cookies, checks, slots, and the user's own servers."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time

import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.drivers.haproxy.servers import Admin, routing
from lastgood.ports.traffic import Destination, Leave, Share
from lastgood.testing.caddy_server import free_port
from tests.drivers.haproxy.conftest import STICKY, Customer, Lab, eventually, generation
from tests.drivers.haproxy.relay import relay


@pytest.fixture
def sticky(bare) -> Lab:
    bare.serve(*STICKY)
    return bare


def known(lab: Lab, generation: str) -> Customer:
    """A visitor whose cookie binds him."""
    customer = Customer(lab.listen)
    assert customer.ask() == (200, generation)
    assert customer.cookie.startswith("SRV=")
    return customer


def by_admin(lab: Lab, admin: Admin) -> set[str]:
    return {name for name, server in lab.look().servers.items() if server.admin is admin}


def test_known_visitors_stay_while_draining_and_leave_at_the_close(sticky, red, blue) -> None:
    driver = sticky.build()
    driver.install()
    driver.route(red)
    customer = known(sticky, "red")
    driver.route(blue)
    assert {customer.ask() for _ in range(10)} == {(200, "red")}
    assert sticky.ask() == (200, "blue")
    driver.close("red")
    assert {customer.ask() for _ in range(10)} == {(200, "blue")}


def test_after_a_cut_no_cookie_leads_to_what_is_bad(sticky, red, blue) -> None:
    driver = sticky.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    customers = [known(sticky, "blue") for _ in range(8)]
    assert len({customer.cookie for customer in customers}) == 2
    begun = time.monotonic()
    driver.route(red, Leave.CUT)
    assert time.monotonic() - begun < 5
    assert {customer.ask() for customer in customers for _ in range(5)} == {(200, "red")}


def test_weight_zero_would_not_be_enough(sticky, red, blue) -> None:
    """Why a cut is maintenance: shown with HAProxy itself."""
    driver = sticky.build()
    driver.install()
    driver.route(blue)
    customer = known(sticky, "blue")
    driver.route(red)
    sticky.tell(*(f"set server {{b}}/{name} weight 0" for name in by_admin(sticky, Admin.DRAIN)))
    sticky.tell(*(f"set server {{b}}/{name} state ready" for name in by_admin(sticky, Admin.DRAIN)))
    assert customer.ask() == (200, "blue")
    driver.route(red, Leave.CUT)
    assert customer.ask() == (200, "red")


def test_websockets_and_polls_stay_while_draining_and_end_at_a_cut(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    websocket, poll = lab.open("/socket"), lab.open("/poll")
    driver.route(blue)
    assert driver.open_requests("red") == 2
    assert websocket.echoes(b"still here")
    assert poll.is_open()
    driver.close("red")
    eventually(lambda: not websocket.is_open() and not poll.is_open())
    websocket, poll = lab.open("/socket"), lab.open("/poll")
    driver.route(red, Leave.CUT)
    eventually(lambda: not websocket.is_open() and not poll.is_open())
    assert driver.open_requests("blue") == 0


def test_a_cut_lets_requests_end_within_its_grace_and_no_longer(lab, red, blue) -> None:
    driver = lab.build(cut_grace=1.0)
    driver.install()
    driver.route(blue)
    answers: list[tuple[float, tuple[int, str]]] = []
    paths = ("/?delay=0.2", "/?delay=60")
    threads = [
        threading.Thread(target=lambda p=path: answers.append((time.monotonic(), lab.ask(p))))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: lab.sessions() == 2)
    begun = time.monotonic()
    driver.route(red, Leave.CUT)
    assert 1.0 <= time.monotonic() - begun < 10
    for thread in threads:
        thread.join(10)
    assert [answer for _, answer in answers] == [(200, "blue"), (502, "")]


def test_the_users_own_servers_come_back_exactly(bare, red, blue) -> None:
    with generation("own", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4") as own:
        one, two, three, four = own.addresses
        bare.serve(
            f"server old1 {one} weight 50 check inter 100",
            f"server old2 {two} weight 20",
            f"server asleep {three} weight 7 disabled",
            f"server spare {four} weight 9 backup",
        )
        bare.tell("set server {b}/old2 weight 13")
        driver = bare.build()
        driver.install()
        baseline = driver.current()
        assert baseline == Destination("", tuple(sorted((one, two))))
        before = {name: state for name, state in routing(bare.look().state).items() if "lg" not in name}
        driver.split([Share(baseline, 90.0), Share(red, 10.0)])
        observed = {share.destination: share.percent for share in driver.shares()}
        assert observed == {baseline: pytest.approx(90, abs=0.5), red: pytest.approx(10, abs=0.5)}
        heavy, light = (bare.look().servers[name].weight for name in ("old1", "old2"))
        assert heavy / light == pytest.approx(50 / 13, rel=0.1)
        driver.route(red)
        assert driver.current() == red
        driver.close("")
        driver.route(blue, Leave.CUT)
        assert {bare.ask() for _ in range(10)} == {(200, "blue")}
        for leave in Leave:
            driver.route(red)
            driver.route(baseline, leave)
            assert driver.current() == baseline
            there = {name: state for name, state in routing(bare.look().state).items() if "lg" not in name}
            assert there == before
            assert {bare.ask() for _ in range(10)} == {(200, "own")}
        bare.server.restart()
        assert driver.current() == baseline
        assert driver._files.record().originals == {}


def test_a_backup_server_alone_is_where_requests_go(bare, red) -> None:
    with generation("own", "127.0.0.1") as own:
        bare.serve(f"server spare {own.addresses[0]} backup")
        driver = bare.build()
        driver.install()
        assert driver.current() == Destination("", own.addresses)
        driver.route(red)
        assert (driver.current(), bare.ask()) == (red, (200, "red"))
        driver.route(Destination("", own.addresses))
        assert (driver.current(), bare.ask()) == (Destination("", own.addresses), (200, "own"))
        driver.route(Destination())
        assert bare.ask() == (200, "own"), "it is there for when there is nobody else"


@pytest.mark.parametrize("check", ["inter 50ms", "inter 50ms fall 1", "inter 50ms rise 1 fall 1"])
def test_nobody_is_sent_where_haproxy_does_not_get(bare, red, check) -> None:
    bare.serve(check=check)
    driver = bare.build(check_wait=0.5)
    driver.install()
    driver.route(red)
    dead = Destination("dead", (red.addresses[0], f"127.0.0.1:{free_port()}"))
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(bare.ask())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with pytest.raises(Rejected, match=r"did not pass in 0\.5 s") as caught:
            driver.route(dead)
    finally:
        over.set()
        thread.join()
    assert "refused" in str(caught.value)
    assert set(answers) == {(200, "red")}
    assert driver.current() == red
    assert len(by_admin(bare, Admin.MAINT)) == 6


@pytest.mark.parametrize("check", ["inter 50ms", "inter 50ms fall 1", "inter 50ms rise 1 fall 1"])
def test_a_server_is_checked_before_its_first_request(bare, red, blue, check) -> None:
    bare.serve(check=check)
    driver = bare.build()
    driver.install()
    for destination in (red, blue, red):
        driver.route(destination)
        receiving = [server for server in bare.look().servers.values() if server.receives]
        assert [server.row["check_status"].lstrip("* ") for server in receiving] == ["L4OK", "L4OK"]
        assert all(server.passed for server in receiving)


def test_slots_without_a_check_come_in_at_once(bare, red) -> None:
    bare.serve()
    bare.server.config.write_text(bare.server.config.read_text().replace("check inter 50ms", "no-check"))
    bare.server.reload()
    bare.build().install()
    bare.build().route(red)
    assert bare.ask() == (200, "red")


def test_the_way_back_uses_the_servers_that_are_warm(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    first = by_admin(lab, Admin.READY)
    driver.route(blue)
    assert by_admin(lab, Admin.DRAIN) == first
    driver.route(red)
    assert by_admin(lab, Admin.READY) == first


def test_slots_are_used_again_and_lead_to_their_new_address_only(bare, red, blue, green) -> None:
    bare.serve(slots=4)
    driver = bare.build()
    driver.install()
    customer = Customer(bare.listen)
    for destination in (red, blue, green, red, blue, green):
        driver.route(destination)
        assert driver.current() == destination
        assert {customer.ask() for _ in range(6)} == {(200, destination.generation)}


def test_too_few_slots_are_told_before_anything_happens(bare, red, blue, green) -> None:
    bare.serve(slots=3)
    driver = bare.build()
    driver.install()
    driver.route(red)
    with pytest.raises(Rejected, match=r"2 server slots are needed in .*, and 1 of 3"):
        driver.route(blue)
    assert (driver.current(), bare.ask()) == (red, (200, "red"))
    driver.route(Destination("blue", blue.addresses[:1]))
    assert bare.ask() == (200, "blue")


def test_a_slot_with_an_open_request_is_not_taken_for_another(bare, red, blue, green) -> None:
    bare.serve(slots=4)
    driver = bare.build()
    driver.install()
    driver.route(red)
    held = bare.open("/socket")
    driver.route(blue)
    with pytest.raises(Rejected, match="1 of 4 are free"):
        driver.route(green)
    assert held.echoes(b"still here")
    driver.close("red")
    driver.route(green)
    assert bare.ask() == (200, "green")


def test_ipv6_addresses_are_destinations(lab) -> None:
    with generation("six", "::1") as there:
        six = Destination("six", (there.addresses[0].replace("::1", "0:0::1"),))
        driver = lab.build()
        driver.install()
        driver.route(six)
        assert (driver.current(), lab.ask()) == (six, (200, "six"))
        driver.route(six)
        assert len(by_admin(lab, Admin.READY)) == 1


@pytest.mark.parametrize(
    "address", ["localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "", "1.2:3"]
)
def test_what_is_no_destination_is_refused(lab, red, address) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    for refused in (Destination("x", (address,)), Destination("", (address,))):
        with pytest.raises(InvalidInput):
            driver.route(refused)
        with pytest.raises(InvalidInput):
            driver.split([Share(red, 50.0), Share(refused, 50.0)])
    assert driver.current() == red


def test_what_somebody_does_by_hand_is_seen(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    fingerprint = driver.observe().fingerprint
    lab.tell(*(f"set server {{b}}/{name} state ready" for name in by_admin(lab, Admin.DRAIN)))
    lab.tell("set server {b}/lg1 weight 3")
    assert {s.destination: round(s.percent) for s in driver.shares()} == {red: 67, blue: 33}
    assert driver.current() == red
    assert driver.observe().fingerprint != fingerprint
    driver.route(blue)
    assert driver.shares() == (Share(blue, 100.0),)
    lab.tell("set server {b}/lg4 state maint")
    remaining = driver.current().addresses
    assert len(remaining) == 1
    assert set(remaining) < set(blue.addresses)
    assert driver.current().generation == "blue"
    with generation("stranger", "127.0.0.1") as stranger:
        host, port = stranger.addresses[0].split(":")
        lab.tell(f"set server {{b}}/lg4 addr {host} port {port}", "set server {b}/lg4 state ready")
        there = {share.destination for share in driver.shares()}
        assert there == {Destination("", stranger.addresses), Destination("blue", remaining)}
        driver.route(blue)
    assert driver.current() == blue


def test_a_static_algorithm_can_route_and_says_why_it_cannot_split(bare, red, blue) -> None:
    bare.serve("balance static-rr")
    driver = bare.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    assert bare.ask() == (200, "blue")
    with pytest.raises(Rejected, match="static LB algorithm"):
        driver.split([Share(blue, 95.0), Share(red, 5.0)])
    assert {bare.ask() for _ in range(20)} == {(200, "blue")}
    driver.route(red, Leave.CUT)
    assert bare.ask() == (200, "red")


def test_visitors_that_come_back_in_spite_of_a_cut_are_told(bare, red, blue) -> None:
    """Each look comes when they are there again."""
    bare.serve(*STICKY, "option persist")
    bare.build().install()
    bare.build().route(blue)
    customer = known(bare, "blue")
    over = threading.Event()

    def insist() -> None:
        while not over.is_set():
            with contextlib.suppress(http.client.HTTPException, OSError):
                Customer(bare.listen, customer.cookie).ask("/?delay=0.5")

    def wait(number: int, line: str) -> None:
        if line.startswith("show info"):
            eventually(lambda: bare.sessions() > 0)

    threads = [threading.Thread(target=insist) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with relay(bare.server.socket) as between:
            between.on_line = wait
            driver = bare.build(sockets=[between.address], cut_grace=0.0)
            with pytest.raises(Rejected, match="requests still come"):
                driver.route(red, Leave.CUT)
    finally:
        over.set()
        for thread in threads:
            thread.join()
