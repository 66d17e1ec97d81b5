"""Stands between the driver and HAProxy's runtime API and does what networks and dying processes do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Fault(str, Enum):
    """``before``: HAProxy never hears of it; ``after``: the answer is lost; ``half``: it breaks off."""

    BEFORE = "before"
    AFTER = "after"
    HALF = "half"


@dataclass
class Relay:
    """``on_line`` is called with number and text of each line of commands before it is passed on,
    ``on_answer`` before the answer is; what it returns is passed on in its place.
    """

    target: Path
    fault: Fault | None = None
    at: int = -1
    on_line: Callable[[int, str], None] = lambda number, line: None
    on_answer: Callable[[int, str], str] = lambda number, answer: answer
    lines: list[str] = field(default_factory=list)
    address: str = ""

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                self._pass(client)

    def _pass(self, client: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += client.recv(65536)
        number = len(self.lines)
        self.lines.append(line.decode().strip())
        self.on_line(number, self.lines[-1])
        if number == self.at and self.fault is Fault.BEFORE:
            return
        answer = b""
        with socket.socket(socket.AF_UNIX) as haproxy:
            haproxy.connect(str(self.target))
            haproxy.sendall(line)
            while part := haproxy.recv(65536):
                answer += part
        text = self.on_answer(number, answer.decode())
        if number == self.at and self.fault is Fault.AFTER:
            return
        half = number == self.at and self.fault is Fault.HALF
        client.sendall(text.encode()[: len(text) // 2 if half else None])


@contextmanager
def relay(target: Path) -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = Relay(target, address=f"127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=between.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield between
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
