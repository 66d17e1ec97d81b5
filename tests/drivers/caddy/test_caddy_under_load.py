"""Flips under keep-alive load from a process of its own: nobody may notice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from lastgood.drivers.caddy.admin import Admin
from lastgood.drivers.caddy.metrics import count
from lastgood.testing.load import percentile

FLIPS = 20
RATE = 700
SECONDS = 15.5


def test_twenty_flips_under_load_fail_no_request(lab, red, blue, eventually, tmp_path: Path) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    records = tmp_path / "requests.jsonl"
    command = [sys.executable, "-m", "lastgood.testing.load", f"http://{lab.listen}/", "--json"]
    command += ["--rate", str(RATE), "--connections", "20", "--seconds", str(SECONDS)]
    load = subprocess.Popen([*command, "--requests", str(records)], stdout=subprocess.PIPE)

    def served() -> int:
        return sum(count(Admin(lab.server.admin).metrics(), "lastgood-storefront.prod.us").codes.values())

    eventually(lambda: served() >= RATE // 2)
    flips = []
    for number in range(FLIPS):
        destination = (blue, red)[number % 2]
        before = served()
        called = time.time()
        driver.route(destination)
        flips.append((called, time.time(), destination.generation))
        eventually(lambda before=before: served() >= before + RATE // 2)
    output, _ = load.communicate(timeout=30)
    result = json.loads(output)
    answers = [json.loads(line) for line in records.read_text().splitlines()]

    assert result["failed"] == 0, result["errors"] or result["statuses"]
    assert result["total"] >= 10_000
    assert result["resets"] == 0
    firsts = []
    for (called, done, generation), (following, _, _) in zip(flips, [*flips[1:], (1e18, 0, "")], strict=True):
        # One that was still on its way when the next flip began may rightly see either.
        between = [a for a in answers if done <= a["sent"] and a["received"] < following]
        late = [a for a in between if a["word"] != generation]
        assert len(between) > 100
        assert late == [], "a request sent after route() returned went to the old generation"
        new = [a["received"] for a in answers if called <= a["sent"] < following and a["word"] == generation]
        firsts.append((min(new) - called) * 1000)
    calls = sorted((done - called) * 1000 for called, done, _ in flips)
    firsts.sort()
    print(f"\n{result['total']} requests, {result['failed']} failed, latency {result['latency_ms']}")
    for what, values in (("route()", calls), ("call to first response of the new one", firsts)):
        print(f"{what}: p50 {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms")
