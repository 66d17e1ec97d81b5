"""Stands before a registry and does what networks, proxies and overloaded registries do."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from lastgood.testing.registry_server import RegistryServer


@dataclass
class Answer:
    """What is answered instead, or done to the answer: ``cut_after`` so many bytes of it the line goes dead,
    ``flip`` changes its first byte, ``headers`` are laid over its own.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int = -1
    flip: bool = False


@dataclass
class Proxy:
    """``target`` is the registry's host:port; ``extra`` headers are sent there with each request.

    ``rules``: (pattern of the path, answer), the first that matches counts. ``seen``: (path, headers).
    """

    address: str
    target: str
    extra: Mapping[str, str] = field(default_factory=dict)
    rules: list[tuple[str, Answer]] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def rule(self, path: str) -> Answer:
        return next((answer for pattern, answer in self.rules if re.search(pattern, path)), Answer())

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]


@contextmanager
def proxy(
    target: str, extra: Mapping[str, str] | None = None, tls: RegistryServer | None = None
) -> Iterator[Proxy]:
    """``tls``: it shows the certificate of that registry."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls is not None and tls.certificate is not None:
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load_cert_chain(tls.certificate, tls.certificate.with_suffix(".key"))
        server.socket = shown.wrap_socket(server.socket, server_side=True)
    running = Proxy(f"127.0.0.1:{server.server_port}", target, extra or {})
    _Handler.of[server] = running
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        del _Handler.of[server]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up on a bad answer does right."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: ClassVar[dict[Any, Proxy]] = {}

    def do_GET(self) -> None:
        through = self.of[self.server]
        through.seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        rule = through.rule(self.path)
        if rule.status:
            self._answer(rule.status, {}, rule, rule.body)
            return
        connection = http.client.HTTPConnection(through.target, timeout=10)
        sent = {key: value for key, value in self.headers.items() if key.lower() != "host"}
        connection.request("GET", self.path, headers={**sent, **through.extra})
        answer = connection.getresponse()
        body = answer.read()
        kept = {key: value for key, value in answer.getheaders() if key.lower() != "content-length"}
        connection.close()
        self._answer(answer.status, kept, rule, bytes([body[0] ^ 1]) + body[1:] if rule.flip else body)

    def _answer(self, status: int, headers: Mapping[str, str], rule: Answer, body: bytes) -> None:
        self.send_response_only(status)
        for key, value in {**headers, "Content-Length": str(len(body)), **rule.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if rule.cut_after >= 0:
            self.wfile.write(body[: rule.cut_after])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
