"""Customers of the demonstration, as a process of their own: ``python -m lastgood.demo.shoppers``.

Open loop: a customer arrives when the clock says so, however slow the shop is. Each looks at the
catalogue, fills a cart and checks out once. Nobody retries: what failed for a customer has failed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, TextIO, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

CARDS = {
    "visa": "4242424242424242",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "jcb": "3566002020360505",
    "unionpay": "6200000000000005",
}
SKUS = ("apron", "atlas", "basket", "candle", "compass", "kettle", "lantern", "mug", "notebook", "scarf")
NOTES = ("", "", "Happy birthday!", "", "Herzlichen Glückwunsch", "", "お誕生日おめでとう")
REQUESTS_PER_CUSTOMER = 3


@dataclass(frozen=True)
class Seen:
    """One request as the customer saw it; one line of the output file.

    ``at`` is the start (seconds since 1970), ``seconds`` how long the customer waited, ``status`` 0
    when no answer came, ``order`` 0 unless the shop acknowledged one, ``key`` the checkout's.
    """

    at: float
    seconds: float
    site: str
    kind: str
    status: int
    error: str = ""
    order: int = 0
    key: str = ""
    note: str = ""
    release: str = ""


@dataclass(frozen=True)
class Target:
    """A shop under its ``site`` label; ``rate`` in requests a second."""

    site: str
    url: str
    rate: float


class Record:
    """The output file: whole lines, flushed one by one, written by many threads."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def write(self, seen: Seen) -> None:
        line = json.dumps({k: v for k, v in asdict(seen).items() if v not in ("", 0) or k == "status"})
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


class Customer:
    """A browser with one kept-alive connection, used by one customer after the other."""

    def __init__(self, target: Target, record: Record, cards: Iterator[str]) -> None:
        self._site = target.site
        self._record = record
        self._cards = cards
        address = urlsplit(target.url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "127.0.0.1", address.port or 80, timeout=10
        )

    def visit(self) -> None:
        """Browse, fill a cart, check out."""
        self._ask("browse", "GET", "/", None)
        chosen = random.sample(SKUS, k=random.randint(1, 3))
        cart = [{"sku": sku, "quantity": random.randint(1, 2)} for sku in chosen]
        self._ask("cart", "POST", "/cart", {"cart": cart})
        body = {
            "key": uuid.uuid4().hex,
            "customer": f"c{random.randrange(10**6):06d}",
            "card": next(self._cards),
            "cart": cart,
            "gift_note": random.choice(NOTES),
        }
        self._ask("checkout", "POST", "/checkout", body)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, kind: str, method: str, path: str, body: Mapping[str, Any] | None) -> None:
        at, started = time.time(), time.monotonic()
        status, error, answer, release = 0, "", b"", ""
        try:
            content = json.dumps(body).encode() if body is not None else None
            headers = {"Content-Type": "application/json"} if content else {}
            self._connection.request(method, path, body=content, headers=headers)
            response = self._connection.getresponse()
            answer, status = response.read(), response.status
            release = response.getheader("X-Shop-Release") or ""
        except (OSError, http.client.HTTPException) as problem:
            # The next request opens a new connection; this one stays failed.
            error = f"{type(problem).__name__}: {problem}"
            self._connection.close()
        if status >= 400:
            error = answer[:200].decode(errors="replace")
        self._record.write(
            Seen(
                at=round(at, 4),
                seconds=round(time.monotonic() - started, 4),
                site=self._site,
                kind=kind,
                status=status,
                error=error,
                order=int(json.loads(answer)["order"]) if kind == "checkout" and status == 201 else 0,
                key=str(body["key"]) if body and kind == "checkout" else "",
                note=str(body["gift_note"]) if body and kind == "checkout" else "",
                release=release,
            )
        )


def _cards() -> Iterator[str]:
    """Card numbers for ever: in each five, every scheme once, in an order of its own."""
    while True:
        yield from random.sample(list(CARDS.values()), k=len(CARDS))


class _Shared(Iterator[T]):
    """An iterator that many threads may draw from."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._source)


def _arrivals(rate: float) -> Iterator[float]:
    """Moments (monotonic clock) at which a customer arrives: evenly, each a little early or late."""
    gap, start = REQUESTS_PER_CUSTOMER / rate, time.monotonic()
    for number in count():
        yield start + gap * (number + random.uniform(0.0, 0.9))


def _serve(
    target: Target, record: Record, due: Iterator[float], cards: Iterator[str], stop: threading.Event
) -> None:
    customer = Customer(target, record, cards)
    while not stop.wait(max(0.0, next(due) - time.monotonic())):
        customer.visit()
    customer.close()


def shop_until(targets: list[Target], out: TextIO, stop: threading.Event, threads: int = 6) -> None:
    """Send customers to every target until ``stop`` is set and the last one has his answer."""
    record = Record(out)
    crowd = []
    for target in targets:
        due, cards = _Shared(_arrivals(target.rate)), _Shared(_cards())
        crowd += [
            threading.Thread(target=_serve, args=(target, record, due, cards, stop), name=target.site)
            for _ in range(threads)
        ]
    for thread in crowd:
        thread.start()
    stop.wait()
    for thread in crowd:
        thread.join()


def _parse(arguments: list[str] | None) -> tuple[list[Target], str]:
    parser = argparse.ArgumentParser(prog="shoppers", description=__doc__)
    parser.add_argument("--target", action="append", required=True, metavar="SITE=URL")
    parser.add_argument("--rate", action="append", default=[], metavar="N|SITE=N", help="requests a second")
    parser.add_argument("--out", required=True, help="one JSON line per request is appended here")
    given = parser.parse_args(arguments)
    rates = {}
    for rate in given.rate or ["25"]:
        site, _, number = rate.rpartition("=")
        rates[site] = float(number)
    targets = []
    for text in given.target:
        site, _, url = text.partition("=")
        targets.append(Target(site, url, rates.get(site, rates.get("", 25.0))))
    return targets, str(given.out)


def main(arguments: list[str] | None = None) -> int:
    """Shop until SIGTERM or SIGINT."""
    targets, path = _parse(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Path(path).open("a", encoding="utf-8") as out:
        shop_until(targets, out, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
