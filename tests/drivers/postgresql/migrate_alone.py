"""Deploys one migration in a process of its own, to be killed: url, directory, deploy.sql, revert.sql."""

from __future__ import annotations

import sys
from pathlib import Path

from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import UNIT, Tools, create

if __name__ == "__main__":
    url, directory, deploy, *revert = sys.argv[1:]
    driver = create(UNIT, {"url": url, "lock_timeout": 5}, Tools(Path(directory)))
    print("ready", flush=True)
    driver.deploy(script("0001_slow", deploy, "SELECT 1;", *(revert or ["DROP TABLE slow;"])), KEY)
