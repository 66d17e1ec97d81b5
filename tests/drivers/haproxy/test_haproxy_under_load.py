"""Flips under keep-alive load from a process of its own: nobody may notice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.ports.traffic import Destination, Leave
from lastgood.testing.caddy_server import free_port
from lastgood.testing.haproxy_server import haproxy
from lastgood.testing.load import percentile
from tests.drivers.haproxy.conftest import eventually

FLIPS = 20
RATE = 1100
SECONDS = 12.0


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[dict[str, Destination]]:
    """Two instances of each generation that need next to no processor: an HAProxy answers for all."""
    names = {name: [f"127.0.0.1:{free_port()}" for _ in range(2)] for name in ("red", "blue")}
    text = "".join(
        f"frontend {name}{number}\n    bind {address}\n"
        f'    http-request return status 200 content-type text/plain string "{name}"\n'
        for name, addresses in names.items()
        for number, address in enumerate(addresses)
    )
    with haproxy(tmp_path / "upstreams") as server:
        server.serve_text(text)
        yield {name: Destination(name, tuple(sorted(addresses))) for name, addresses in names.items()}


def test_twenty_flips_under_load_fail_no_request(lab, fast, tmp_path: Path) -> None:
    """Every second way back is a cut, as after a breach."""
    driver = lab.build()
    driver.install()
    driver.route(fast["red"])
    records = tmp_path / "requests.jsonl"
    command = [sys.executable, "-m", "lastgood.testing.load", f"http://{lab.listen}/", "--json"]
    command += ["--rate", str(RATE), "--connections", "20", "--seconds", str(SECONDS)]
    load = subprocess.Popen([*command, "--requests", str(records)], stdout=subprocess.PIPE)

    def served() -> int:
        return int(lab.look().backend["hrsp_2xx"])

    eventually(lambda: served() >= RATE // 4)
    flips = []
    for number in range(FLIPS):
        destination = fast["blue" if number % 2 == 0 else "red"]
        leave = Leave.CUT if number % 4 == 3 else Leave.DRAIN
        called = time.time()
        driver.route(destination, leave)
        flips.append((called, time.time(), destination.generation, leave))
        before = served()
        eventually(lambda before=before: served() >= before + RATE // 3)
    output, _ = load.communicate(timeout=30)
    result = json.loads(output)
    answers = [json.loads(line) for line in records.read_text().splitlines()]

    print(f"\n{result['total']} requests, {result['failed']} failed, latency {result['latency_ms']}")
    for leave in Leave:
        calls = sorted((done - called) * 1000 for called, done, _, how in flips if how is leave)
        print(f"route({leave.value}): p50 {percentile(calls, 0.5):.1f} ms, max {calls[-1]:.1f} ms")
    assert result["failed"] == 0, result["errors"] or result["statuses"]
    assert result["resets"] == 0
    assert result["total"] >= 1000 * SECONDS
    for (_, done, generation, _), following in zip(flips, [*flips[1:], (1e18,)], strict=True):
        # One that was still on its way when the next flip began may rightly see either.
        between = [a for a in answers if done <= a["sent"] and a["received"] < following[0]]
        assert len(between) > 100
        assert [a for a in between if a["word"] != generation] == []
