"""A shop as a process, and the scripts of its schema."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

import lastgood.demo

DEMO = Path(lastgood.demo.__file__).parent
MIGRATIONS = {
    "0001_init": DEMO / "estate_files/first/databases/shop/migrations/0001_init",
    "0002_gift_notes": DEMO / "estate_files/second/add/databases/shop/migrations/0002_gift_notes",
}
KEY = "pk-not-to-be-printed"


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer of ``condition``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def run_sql(url: str, migration: str, script: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute((MIGRATIONS[migration] / f"{script}.sql").read_text())


class RunningShop:
    """One role of one release as a process, started as the artifact is: by its directory."""

    def __init__(
        self, directory: Path, url: str, role: str, release: int, payment: str, key: str = KEY
    ) -> None:
        package = directory / f"release{release}" / "shop"
        if not package.exists():
            shutil.copytree(DEMO / "shop", package)
            if release == 2:
                shutil.copytree(DEMO / "shop_next", package, dirs_exist_ok=True)
        config = directory / f"shop{uuid.uuid4().hex}.toml"
        config.write_text(
            '[shop]\nsite = "us"\ncurrency = "USD"\nminor_digits = 2\nlanguage = "en"\nprice_rate = 1.0\n'
            f'tax_rate = 0.0\n[database]\nurl = "{url}"\n[payment]\ntimeout_ms = 800\n{payment}'
        )
        self.log = directory / f"{role}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(package), role, "--config", str(config)],
            env={"PAYMENT_KEY": key} if key else {},
            stderr=self.log.open("ab"),
            stdout=subprocess.DEVNULL,
        )

    @property
    def port(self) -> int:
        def said() -> int:
            found = re.search(r" on port (\d+)\n", self.log.read_text())
            return int(found[1]) if found else 0

        return int(wait_for(said))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        content = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(self.url + path, data=content, timeout=10) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as problem:
            text, status = problem.read(), problem.code
        return status, json.loads(text) if text[:1] == b"{" else text.decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)
