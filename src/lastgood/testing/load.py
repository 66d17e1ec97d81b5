"""Open-loop keep-alive load against this machine, for tests, the demonstration and benchmarks.

``python -m lastgood.testing.load URL --rate 500 --connections 20 --seconds 5 --json``

Each connection has its own timetable: a request that is late is sent at once, and its latency counts
from when it was due, so that a stall of the server is seen in full. A connection that breaks makes its
request a failed one; the next request opens a new connection. SIGTERM ends it before its time, well: what was
sent is waited for and reported.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """One request. Times are seconds since the epoch; ``latency`` is seconds from when it was due.

    ``status`` is 0 when there was no response: then ``error`` is refused, reset, closed, timeout or
    protocol. ``word`` is the body's first word.
    """

    due: float
    sent: float
    received: float
    latency: float
    status: int
    error: str
    word: str

    @property
    def failed(self) -> bool:
        return bool(self.error) or self.status >= 500


@dataclass(frozen=True)
class Load:
    """What to send: ``rate`` requests a second over ``connections`` connections for ``seconds``.

    ``rate`` 0 is a closed loop: each connection sends as soon as it was answered.
    """

    url: str
    rate: float = 500.0
    connections: int = 20
    seconds: float = 5.0
    timeout: float = 5.0


@dataclass
class _Connection:
    host: str
    port: int
    timeout: float
    request: bytes
    _socket: socket.socket | None = field(default=None, init=False)
    _stream: IO[bytes] | None = field(default=None, init=False)

    def ask(self) -> tuple[int, str, str]:
        """(status, error class, first word) of one request."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection((self.host, self.port), self.timeout)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._stream = self._socket.makefile("rb")
            self._socket.sendall(self.request)
            return self._answer()
        except ConnectionRefusedError:
            error = "refused"
        except TimeoutError:
            error = "timeout"
        except (ConnectionResetError, BrokenPipeError):
            error = "reset"
        except EOFError:
            error = "closed"
        except (OSError, ValueError):
            error = "protocol"
        self.close()
        return 0, error, ""

    def _answer(self) -> tuple[int, str, str]:
        status_line = self._line()
        if not status_line:
            raise EOFError
        status, length, keep = int(status_line.split()[1]), 0, True
        while (line := self._line()) not in (b"\r\n", b"\n"):
            if not line:
                raise EOFError
            key, _, value = line.partition(b":")
            match key.strip().lower():
                case b"content-length":
                    length = int(value)
                case b"transfer-encoding":
                    length = -1
                case b"connection":
                    keep = value.strip().lower() != b"close"
        body = self._chunks() if length < 0 else self._exactly(length)
        if not keep:
            self.close()
        words = body.split(None, 1)
        return status, "", words[0][:80].decode("utf-8", "replace") if words else ""

    def _line(self) -> bytes:
        assert self._stream is not None
        return self._stream.readline(65536)

    def _exactly(self, size: int) -> bytes:
        assert self._stream is not None
        content = self._stream.read(size)
        if len(content) < size:
            raise EOFError
        return content

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self._line().split(b";")[0], 16):
            content += self._exactly(size)
            self._line()
        self._line()
        return content

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._stream = None


def run(load: Load, stop: threading.Event | None = None) -> list[Answer]:
    """All answers by time of sending; ``stop`` ends it early. Raises ValueError for an address outside this
    machine.
    """
    host, port, request = _request(load.url)
    ended = stop or threading.Event()
    begin = time.monotonic() + 0.05
    results: list[list[Answer]] = [[] for _ in range(load.connections)]
    threads = [
        threading.Thread(
            target=_work,
            args=(
                load,
                _Connection(host, port, load.timeout, request),
                begin,
                number,
                results[number],
                ended,
            ),
            daemon=True,
        )
        for number in range(load.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted((answer for part in results for answer in part), key=lambda answer: answer.sent)


def _request(url: str) -> tuple[str, int, bytes]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback:
        raise ValueError(f"{url}: load goes to http:// on this machine only")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, parts.port or 80, f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()


def _work(
    load: Load, connection: _Connection, begin: float, number: int, out: list[Answer], stop: threading.Event
) -> None:
    epoch = time.time() - time.monotonic()
    # Counted in whole requests: sums of fractions would now and then give one too many.
    total = -(-round(load.rate * load.seconds - number) // load.connections) if load.rate else sys.maxsize
    for turn in range(total):
        due = begin + (number + turn * load.connections) / load.rate if load.rate else time.monotonic()
        if not load.rate and due >= begin + load.seconds:
            break
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        sent = time.monotonic()
        status, error, word = connection.ask()
        received = time.monotonic()
        out.append(Answer(epoch + due, epoch + sent, epoch + received, received - due, status, error, word))
    connection.close()


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Counts, latencies (milliseconds), and who answered when (seconds since the epoch).

    ``answers`` holds for each first word its count and the first and last time of sending and receiving:
    all traffic was on the new generation from ``last_sent`` of the old one on. ``timeline`` are runs of
    equal answers by time of sending.
    """
    errors: dict[str, int] = {}
    statuses: dict[str, int] = {}
    for answer in answers:
        key = answer.error or str(answer.status)
        group = errors if answer.error else statuses
        group[key] = group.get(key, 0) + 1
    latencies = sorted(answer.latency * 1000 for answer in answers)
    return {
        "total": len(answers),
        "failed": sum(answer.failed for answer in answers),
        "resets": errors.get("reset", 0) + errors.get("closed", 0),
        "errors": errors,
        "statuses": statuses,
        "seconds": answers[-1].received - answers[0].due if answers else 0.0,
        "latency_ms": {
            name: percentile(latencies, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
        "answers": _by_word(answers),
        "timeline": _timeline(answers),
    }


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of sorted values, None when there are none."""
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)] if ordered else None


def _by_word(answers: Iterable[Answer]) -> dict[str, dict[str, Any]]:
    words: dict[str, dict[str, Any]] = {}
    for a in answers:
        entry = words.setdefault(
            a.word,
            {"count": 0, "first_sent": a.sent, "last_sent": a.sent,
             "first_received": a.received, "last_received": a.received},
        )  # fmt: skip
        entry["count"] += 1
        entry["first_sent"] = min(entry["first_sent"], a.sent)
        entry["last_sent"] = max(entry["last_sent"], a.sent)
        entry["first_received"] = min(entry["first_received"], a.received)
        entry["last_received"] = max(entry["last_received"], a.received)
    return words


def _timeline(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    for answer in answers:
        key = {"word": answer.word, "status": answer.status, "error": answer.error}
        if runs and all(runs[-1][name] == value for name, value in key.items()):
            runs[-1]["count"] += 1
            runs[-1]["until"] = answer.sent
        else:
            runs.append({**key, "from": answer.sent, "until": answer.sent, "count": 1})
    return runs


def main(arguments: Sequence[str] | None = None, stop: threading.Event | None = None) -> int:
    """Exit code 1 when a request failed, 2 when the address is not on this machine."""
    parser = argparse.ArgumentParser(prog="python -m lastgood.testing.load")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second; 0: as fast as it goes")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--requests", help="also write each request as a line of JSON to this file")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        answers = run(Load(given.url, given.rate, given.connections, given.seconds, given.timeout), stop)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if given.requests:
        with open(given.requests, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers)
    result = summary(answers)
    if given.json:
        print(json.dumps(result))
    else:
        print(f"{result['total']} requests, {result['failed']} failed, {result['errors']}")
        print(f"latency ms: {result['latency_ms']}")
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_end.set())
    sys.exit(main(stop=told_to_end))
