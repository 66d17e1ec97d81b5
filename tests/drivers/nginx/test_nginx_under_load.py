"""Flips and reloads under load from a process of its own: nobody may notice a flip."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.traffic import Destination, Leave, Share
from lastgood.testing.caddy_server import free_port
from lastgood.testing.load import percentile
from lastgood.testing.nginx_server import nginx

RATE = 1200
CONNECTIONS = 20
SERVED = Signal("served", SignalKind.RATIO, "nginx")


@pytest.fixture(scope="module")
def generations(tmp_path_factory) -> Iterator[dict[str, Destination]]:
    """Upstreams that cost next to nothing, several addresses for one name: another nginx."""
    ports = {name: (free_port(), free_port()) for name in ("red", "blue")}
    with nginx(tmp_path_factory.mktemp("upstreams")) as server:
        server.http = "".join(
            f'server {{ listen 127.0.0.1:{port}; return 200 "{name}\\n"; }}\n'
            for name, two in ports.items()
            for port in two
        )
        server.serve()
        yield {
            name: Destination(name, tuple(sorted(f"127.0.0.1:{port}" for port in two)))
            for name, two in ports.items()
        }


@dataclass
class Customers:
    """Load in the background, counted as it is served."""

    lab: Any
    records: Path
    eventually: Callable[[Callable[[], bool]], None]

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "lastgood.testing.load", f"http://{self.lab.listen}/", "--json"]
        command += ["--rate", str(RATE), "--connections", str(CONNECTIONS)]
        command += ["--seconds", "120", "--requests", str(self.records)]
        self.driver = self.lab.build()
        self.cursor = self.driver.begin(SERVED)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def served(self) -> int:
        reading = self.driver.read(SERVED, self.cursor)
        self.cursor = reading.cursor
        return reading.total

    def await_more(self, count: int) -> None:
        wanted = self.served() + count
        self.eventually(lambda: self.served() >= wanted)

    def result(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """They go home after some more requests."""
        self.await_more(RATE // 3)
        self.process.terminate()
        output, _ = self.process.communicate(timeout=60)
        return json.loads(output), [json.loads(line) for line in self.records.read_text().splitlines()]


def test_twenty_flips_under_load_fail_no_request(lab, generations, eventually, tmp_path: Path) -> None:
    red, blue = generations["red"], generations["blue"]
    driver = lab.build(upstream_options=["keepalive 32"])
    driver.install()
    driver.route(blue)
    driver.route(red)
    workers = lab.server.accepting()
    customers = Customers(lab, tmp_path / "requests.jsonl", eventually)
    flips = []
    for number in range(20):
        customers.await_more(500)
        destination = (blue, red)[number % 2]
        called = time.time()
        driver.route(destination, Leave.CUT if number % 5 == 4 else Leave.DRAIN)
        flips.append((called, time.time(), destination.generation))
    result, answers = customers.result()

    assert result["failed"] == 0, result["errors"] or result["statuses"]
    assert result["total"] >= 10_000
    assert lab.server.accepting() == workers, "a flip is no reload"
    firsts = []
    for (called, done, generation), (following, _, _) in zip(flips, [*flips[1:], (1e18, 0, "")], strict=True):
        # One that was still on its way when the next flip began may rightly see either.
        between = [a for a in answers if done <= a["sent"] and a["received"] < following]
        assert len(between) > 100
        assert [a for a in between if a["word"] != generation] == [], "late for the old generation"
        new = [a["received"] for a in answers if called <= a["sent"] < following and a["word"] == generation]
        firsts.append((min(new) - called) * 1000)
    calls = sorted((done - called) * 1000 for called, done, _ in flips)
    firsts.sort()
    print(f"\n{result['total']} requests, {result['failed']} failed, latency {result['latency_ms']}")
    for what, values in (("route()", calls), ("call to first response of the new one", firsts)):
        print(f"{what}: p50 {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms")


def introduce(lab, generations, customers, count: int) -> list[tuple[float, float, str]]:
    """Route to ``count`` generations that nginx has never heard of: each is a reload, then a flip."""
    driver, flips = lab.build(), []
    for number in range(count):
        customers.await_more(RATE // 5)
        word = ("blue", "red")[number % 2]
        called = time.time()
        driver.route(Destination(f"{word}-{number}", generations[word].addresses))
        flips.append((called, time.time(), word))
    return flips


def test_new_generations_under_load_fail_no_request(lab, generations, eventually, tmp_path: Path) -> None:
    """Each customer's request has a connection of its own: a reload loses none of them."""
    lab.server.http = "keepalive_timeout 0;"
    lab.server.write_conf()
    driver = lab.build()
    driver.install()
    driver.route(generations["red"])
    customers = Customers(lab, tmp_path / "requests.jsonl", eventually)
    flips = introduce(lab, generations, customers, 8)
    result, answers = customers.result()
    assert result["failed"] == 0, result["errors"] or result["statuses"]
    for (_, done, word), (following, _, _) in zip(flips, [*flips[1:], (1e18, 0, "")], strict=True):
        between = [a for a in answers if done <= a["sent"] and a["received"] < following]
        assert len(between) > 100
        assert {a["word"] for a in between} == {word}
    calls = sorted((done - called) * 1000 for called, done, _ in flips)
    print(f"\nroute() with a reload: p50 {percentile(calls, 0.5):.0f} ms, max {calls[-1]:.0f} ms")


def test_a_reload_closes_idle_connections_and_nothing_else(
    lab, generations, eventually, tmp_path: Path
) -> None:
    """What no driver can help, kept in sight: a customer who never looks whether his connection still stands
    loses the request he sends on it, at most one for each connection and reload.
    """
    driver = lab.build()
    driver.install()
    driver.route(generations["red"])
    customers = Customers(lab, tmp_path / "requests.jsonl", eventually)
    introduce(lab, generations, customers, 4)
    result, _ = customers.result()
    assert set(result["errors"]) <= {"closed", "reset"}
    assert result["statuses"].keys() == {"200"}
    assert result["failed"] <= 4 * CONNECTIONS
    print(
        f"\n{result['total']} requests, {result['failed']} on a connection that one of 4 reloads had closed"
    )


def test_a_canary_under_load_fails_no_request(lab, generations, eventually, tmp_path: Path) -> None:
    """Steps forward, then all of it back: no reload between them."""
    red, blue = generations["red"], generations["blue"]
    driver = lab.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    customers = Customers(lab, tmp_path / "requests.jsonl", eventually)
    steps = []
    for percent in (0.5, 5.0, 25.0):
        driver.split([Share(red, 100 - percent), Share(blue, percent)])
        begun = time.time()
        customers.await_more(RATE)
        steps.append((percent, begun, time.time()))
    driver.route(red, Leave.CUT)
    back = time.time()
    result, answers = customers.result()
    assert result["failed"] == 0, result["errors"] or result["statuses"]
    for percent, begun, ended in steps:
        words = [a["word"] for a in answers if begun <= a["sent"] < ended]
        share = words.count("blue") * 100 / len(words)
        # Five standard deviations of a throw of dice.
        assert abs(share - percent) <= 5 * (percent * (100 - percent) / len(words)) ** 0.5
    assert {a["word"] for a in answers if a["sent"] >= back} == {"red"}
