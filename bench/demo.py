"""The main job end to end, ten times: how soon it is noticed, how soon it is back, and that it is proven.

``LASTGOOD_BENCH_RUNS`` sets another number of runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RUNS = 10
AIM_SECONDS = 60.0
"""For the whole demonstration; in it the way back has to be over within a minute."""


def run() -> bool:
    """Prints a row a run, then medians; returns whether every run was proven and in time."""
    runs = int(os.environ.get("LASTGOOD_BENCH_RUNS", RUNS))
    head = f"{'run':>4}{'detected s':>12}{'traffic back s':>16}{'restored s':>12}"
    print(head + f"{'failed':>8}{'orders':>8}{'whole s':>9}")
    rows = [_once(number) for number in range(1, runs + 1)]
    names = ("detected", "back", "restored", "whole")
    middle = {name: statistics.median(row[name] for row in rows) for name in names}
    worst = {name: max(row[name] for row in rows) for name in names}
    for title, row in (("p50", middle), ("max", worst)):
        print(
            f"{title:>4}{row['detected']:>12.2f}{row['back']:>16.2f}{row['restored']:>12.2f}{'':>16}{row['whole']:>9.1f}"
        )
    print("detected: since the traffic reached the bad release; the others: since detection")
    missed = [f"run {n} not proven: {row['problems']}" for n, row in enumerate(rows, 1) if not row["proven"]]
    if worst["whole"] > AIM_SECONDS:
        missed.append(f"{worst['whole'] - AIM_SECONDS:.1f} s over {AIM_SECONDS:.0f} s for the whole")
    print("demo: aim met" if not missed else f"demo: aim missed: {'; '.join(missed)}")
    return not missed


def _once(number: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-", dir=_place()) as directory:
        demo = [str(Path(sys.executable).parent / "lastgood"), "demo", "--directory", f"{directory}/demo"]
        began = time.monotonic()
        done = subprocess.run([*demo, "--json"], capture_output=True, text=True, check=False)
        whole = time.monotonic() - began
        subprocess.run([*demo[:2], "stop", *demo[2:]], capture_output=True, check=False)
    document = json.loads(done.stdout)
    marks = {m["kind"]: m["at"] for curve in document["data"]["curves"] for m in curve["marks"]}
    row = {
        "proven": document["proven"] and done.returncode == 0,
        "problems": "; ".join(document["problems"]),
        "detected": document["detected_after_seconds"] or float("inf"),
        "back": marks.get("traffic back", float("inf")) - marks.get("detected", 0.0),
        "restored": document["restored_after_seconds"] or float("inf"),
        "failed": document["requests_failed_once_back"],
        "orders": document["orders_in_database"],
        "whole": whole,
    }
    print(f"{number:>4}{row['detected']:>12.2f}{row['back']:>16.2f}{row['restored']:>12.2f}"
          f"{row['failed']:>8}{row['orders']:>8}{whole:>9.1f}", flush=True)  # fmt: skip
    return row


def _place() -> str | None:
    """PostgreSQL's own user has to get in when this runs as root."""
    return "/var/tmp" if os.geteuid() == 0 else None
