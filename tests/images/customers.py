"""Customers: constant load from a process of its own, until it has seen enough."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AT_MOST_SECONDS = 150


class Customers:
    """``result`` and ``answers`` are there once they have gone home: as ``testing.load`` has them."""

    def __init__(self, port: int, records: Path, rate: float, connections: int) -> None:
        self._records = records
        self.result: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []
        command = [sys.executable, "-m", "lastgood.testing.load", f"http://127.0.0.1:{port}/page", "--json"]
        command += ["--rate", str(rate), "--connections", str(connections)]
        command += ["--seconds", str(AT_MOST_SECONDS), "--requests", str(records)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def go_home(self) -> dict[str, Any]:
        """End well; returns the summary."""
        if not self.result:
            self._process.terminate()
            output, _ = self._process.communicate(timeout=20)
            self.result = json.loads(output)
            self.answers = [json.loads(line) for line in self._records.read_text().splitlines()]
        return self.result

    def assert_unharmed(self) -> None:
        """Nobody has seen an error, a reset or a refusal."""
        told = self.go_home()
        assert (told["failed"], told["resets"]) == (0, 0), (told["errors"], told["statuses"])
        assert told["total"] > 50, "hardly anybody was there"


@contextmanager
def customers(port: int, records: Path, *, rate: float = 300, connections: int = 10) -> Iterator[Customers]:
    """They come before the block and go home with it, if not before."""
    records.mkdir(parents=True, exist_ok=True)
    crowd = Customers(port, records / f"customers-{port}.jsonl", rate, connections)
    try:
        yield crowd
        crowd.go_home()
    finally:
        crowd._process.kill()
        crowd._process.wait()


def page(port: int, path: str = "/page", cookie: str = "") -> tuple[int, str]:
    """Status and first word of what one customer sees."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        words = answer.read().decode().split()
        return answer.status, words[0] if words and answer.status == 200 else ""
    finally:
        connection.close()
