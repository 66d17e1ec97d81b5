"""HTTP/1.1 with keep-alive that stops without cutting anybody off."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Route = Callable[[bytes], Answer]


def as_json(status: int, content: Mapping[str, Any]) -> Answer:
    return status, "application/json", json.dumps(content).encode()


class Handler(BaseHTTPRequestHandler):
    """One connection; requests on it are answered one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 75
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def handle_one_request(self) -> None:
        super().handle_one_request()
        if self.server.idle(self.connection):
            self.close_connection = True

    def answer(self) -> None:
        """Look the route up, run it, and send its answer with a length, so that the connection lives on."""
        self.server.busy(self.connection)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        route = self.server.routes.get((self.command, self.path.partition("?")[0]))
        status, kind, content = route(body) if route else as_json(404, {"error": "no such page"})
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Shop-Release", self.server.release)
        if self.server.stopping.is_set():
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = answer  # noqa: N815 - http.server looks for these names
    do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """No line per request: the log is for what went wrong."""


class Server(ThreadingHTTPServer):
    """Serves ``routes`` on ``host`` until SIGTERM."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, routes: Mapping[tuple[str, str], Route], release: str) -> None:
        super().__init__((host, port), Handler)
        self.routes = routes
        self.release = release
        self.stopping = threading.Event()
        self._idle: dict[socket.socket, bool] = {}
        self._lock = threading.Lock()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle[connection] = True

    def busy(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle[connection] = False

    def idle(self, connection: socket.socket) -> bool:
        """Mark as waiting for a request; True when there should be no further one."""
        with self._lock:
            self._idle[connection] = True
            return self.stopping.is_set()

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle.pop(connection, None)

    def run(self) -> None:
        """Returns when a SIGTERM or SIGINT came and every open request has been answered."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        listening = threading.Thread(target=self.serve_forever, args=(0.1,), name="accept")
        listening.start()
        stop.wait()
        self.shutdown()
        listening.join()
        self.socket.close()
        with self._lock:
            self.stopping.set()
            waiting = [connection for connection, idle in self._idle.items() if idle]
        for connection in waiting:
            # Only the reading half: a request that was already on its way in is still answered.
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                self.closed(connection)
        self.server_close()
