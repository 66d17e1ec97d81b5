"""A TCP proxy that can lose the server's answer to COMMIT, as a cut cable would."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """``cut_before`` drops the COMMIT itself, ``cut_after`` only its answer; both end the connection."""

    target: int
    listener: socket.socket
    cut_after: bool = False
    cut_before: bool = False
    cuts: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open += [client, server]
                cut = threading.Event()
                for source, sink, upstream in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, upstream, cut), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upstream: bool, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if upstream and b"COMMIT\0" in data and (self.cut_after or self.cut_before):
                    self.cuts += 1
                    cut.set()
                    if self.cut_before:
                        break
                if not upstream and cut.is_set():
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self._open:
            end.close()


@contextlib.contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    running = Proxy(target, socket.create_server(("127.0.0.1", 0)))
    threading.Thread(target=running.serve, daemon=True).start()
    try:
        yield running
    finally:
        running.close()
