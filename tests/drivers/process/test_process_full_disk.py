"""A full disk: refused plainly, what runs is kept running, and can be stopped.

In a namespace of its own, which ends with the test.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from typing import Any

from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role

CODE = """
import json, os, pickle, sys
from lastgood.domain.errors import Rejected
from lastgood.domain.unit import Role
from lastgood.drivers.process import layout, proc
from lastgood.drivers.process.driver import create
from lastgood.testing.conformance_runs import eventually
settings, tools, first, second = pickle.loads(sys.stdin.buffer.read())
driver = create(first.unit, settings, tools)
driver.prepare(first)
driver.start(first, [Role.WORKER])
eventually(lambda: driver.ready(first, Role.WORKER).running)
answer = {"state": str(driver.status()[0].running)}
full = os.path.join(settings["root"], "full")
with open(full, "wb", buffering=0) as file:
    try:
        while True:
            file.write(b"x" * 4096)
    except OSError:
        pass
try:
    driver.prepare(second)
except Rejected as e:
    answer["prepare"] = str(e)
home = os.path.join(settings["root"], "shop.prod.us", "g1")
mark = layout.marker(home, "worker")
(before,) = proc.members(0, 0, mark)
os.kill(before, 9)
eventually(lambda: (found := proc.members(0, 0, mark)) and found != [before])
eventually(lambda: driver.status()[0].running)
answer["restarts"] = str(driver.status()[0].restarts)
driver.stop("g1", [Role.WORKER])
answer["stopped"] = str(len(proc.members(0, 0, mark)))
os.unlink(full)
driver.start(first, [Role.WORKER])
eventually(lambda: driver.ready(first, Role.WORKER).running)
answer["workers"] = str(len(proc.members(0, 0, mark)))
driver.stop("g1", [Role.WORKER])
print(json.dumps(answer))
"""
MOUNT = 'mount -t tmpfs -o size=512k tmpfs "$0" && exec "$@"'


def test_a_full_disk_changes_nothing_for_what_runs(bench: Any) -> None:
    first = bench.generation("g1", RoleSpec(Role.WORKER, ("bin/worker",)))
    second = bench.generation("g2", big=b"x" * 50_000)
    bench.root.mkdir()
    told = pickle.dumps((bench.settings, bench.tools, first, second))
    alone = ["unshare", "-m" if os.geteuid() == 0 else "-Urm", "-p", "-f", "--kill-child", "--mount-proc"]
    ran = subprocess.run(
        [*alone, "sh", "-c", MOUNT, str(bench.root), sys.executable, "-c", CODE],
        input=told,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    answer = json.loads(ran.stdout)
    assert "the disk is full at" in answer["prepare"]
    assert (answer["restarts"], answer["stopped"], answer["workers"]) == ("1", "0", "1")
