"""Customers of a database from a process of their own: eight writers, and their record of each order."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

WRITERS = 8
PAUSE = 0.01
"""Seconds between two orders of a writer."""


@dataclass(frozen=True)
class Orders:
    """Acknowledged orders: (number, when it was acknowledged, seconds since the epoch), oldest first."""

    done: list[tuple[str, float]]

    def since(self, moment: float) -> list[str]:
        return [number for number, at in self.done if at >= moment]

    def rate(self, begin: float, end: float) -> float:
        """Orders a second between two moments."""
        return sum(begin <= at < end for _, at in self.done) / (end - begin)

    def longest_gap(self, begin: float, end: float) -> float:
        """Seconds in which nobody's order was taken, between two moments."""
        times = [begin, *(at for _, at in self.done if begin < at < end), end]
        return max(later - earlier for earlier, later in pairwise(times))


@contextmanager
def customers(url: str, directory: Path) -> Iterator[Path]:
    """Orders come in while the block lasts; yields the file to give to ``orders_of`` afterwards."""
    file = directory / f"orders-{time.monotonic_ns()}.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.support.shop_load", url, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()
        yield file
    finally:
        child.stdin.close()
        child.wait(60)


def orders_of(file: Path) -> Orders:
    found = (json.loads(line) for line in file.read_text().splitlines())
    return Orders(sorted(((number, at) for number, at in found), key=lambda order: order[1]))


class Writer(threading.Thread):
    """Takes an order, waits a moment, takes the next; connects anew as long as it is refused."""

    def __init__(self, url: str, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.number, self.over = url, number, over
        self.done: list[tuple[str, float]] = []

    def run(self) -> None:
        taken = 0
        while not self.over.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=2) as connection:
                    while not self.over.is_set():
                        taken += 1
                        number = f"{self.number}-{time.monotonic_ns()}-{taken}"
                        connection.execute(
                            "INSERT INTO orders (number, price) VALUES (%s, 100)", (number,), prepare=True
                        )
                        self.done.append((number, time.time()))
                        self.over.wait(PAUSE)
            except psycopg.Error:
                self.over.wait(0.002)


def main() -> None:
    url, file = sys.argv[1:]
    over = threading.Event()
    writers = [Writer(url, number, over) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    while not all(writer.done for writer in writers):
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    for writer in writers:
        writer.join(10)
    with Path(file).open("w") as out:
        out.writelines(json.dumps(order) + "\n" for writer in writers for order in writer.done)


if __name__ == "__main__":
    main()
