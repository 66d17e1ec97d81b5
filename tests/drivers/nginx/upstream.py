"""A program that plays one generation: answers with its name; ``?status=503&delay=0.5`` say how.

``/held`` begins an answer and does not end it; ``/socket`` is a socket that echoes, as web sockets do.
"""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/held":
            return self._hold("HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nContent-Length: 1000\r\n\r\n")
        if url.path == "/socket":
            return self._hold("HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        query = parse_qs(url.query)
        time.sleep(float(query.get("delay", ["0"])[0]))
        body = f"{sys.argv[1]}\n".encode()
        status = int(query.get("status", ["200"])[0])
        self.wfile.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nSet-Cookie: session=topsecret\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return None

    def _hold(self, head: str) -> None:
        """Until the other side ends it."""
        self.wfile.write(head.encode() + sys.argv[1].encode())
        while content := self.connection.recv(4096):
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was ended is nothing to write about."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(f"127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
