"""A program that plays one instance: answers with its generation; ``?status=503&delay=0.5`` say how.

``python upstream.py GENERATION [HOST]``; the body is ``GENERATION PORT``. ``/poll`` never answers,
``/socket`` becomes a WebSocket that echoes; with ``?length=1000`` the response breaks off before its end.
"""

from __future__ import annotations

import base64
import hashlib
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
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/poll":
            self.connection.recv(1)
            return
        if parts.path == "/socket":
            self._echo()
            return
        time.sleep(float(query.get("delay", ["0"])[0]))
        body = f"{sys.argv[1]} {self.server.server_port}\n".encode()
        status = int(query.get("status", ["200"])[0])
        length = int(query.get("length", [str(len(body))])[0])
        self.wfile.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n".encode()
            + body
        )
        self.close_connection = length != len(body)

    def _echo(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(
            b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        while part := self.connection.recv(4096):
            self.connection.sendall(part)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that HAProxy ends is no error here."""


if __name__ == "__main__":
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = Server((host, 0), Handler)
    print(f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}", flush=True)
    server.serve_forever()
