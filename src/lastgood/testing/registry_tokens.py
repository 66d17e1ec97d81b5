"""Gives out the tokens that a registry asks for, as the token authentication of registries has it."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

SERVICE, ISSUER = "registry.test", "tokens.test"


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """(key, certificate) for 127.0.0.1 and localhost, vouching for itself."""
    key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
             "-subj", f"/CN={name}.test", "-addext",
             "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
    return key, certificate


@dataclass
class TokenServer:
    """``url`` is what the registry names as its realm; ``asked`` holds each question: (user, scopes).

    ``denies``: gives out tokens without any right. ``lives``: seconds that a token is good for.
    """

    url: str
    user: str
    password: str
    key: Path
    certificate: Path
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    denies: bool = False
    lives: int = 300

    def settings(self) -> Mapping[str, str]:
        """What the registry is configured with."""
        return {
            "realm": self.url,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self.certificate),
        }

    def issue(self, *scopes: str) -> str:
        """A signed token for ``repository:name:pull,push``."""
        now = int(time.time())
        access = []
        for scope in scopes if not self.denies else ():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if name:
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        lines = self.certificate.read_text().splitlines()
        header = {
            "typ": "JWT",
            "alg": "RS256",
            "x5c": ["".join(line for line in lines if "-----" not in line)],
        }
        claims = {
            "iss": ISSUER, "sub": self.user, "aud": SERVICE, "jti": str(time.monotonic_ns()),
            "access": access, "iat": now, "nbf": now - 10, "exp": now + self.lives,
        }  # fmt: skip
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(sign, input=signed, check=True, capture_output=True).stdout
        return b".".join((signed, _encoded(signature))).decode()


@contextmanager
def token_server(directory: Path, user: str, password: str) -> Iterator[TokenServer]:
    """On 127.0.0.1, a port of the kernel's choice. Without a name it gives out tokens without rights."""
    key, certificate = make_certificate(directory, "tokens")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    tokens = TokenServer(f"http://127.0.0.1:{server.server_port}/token", user, password, key, certificate)
    _Handler.of[server] = tokens
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        del _Handler.of[server]


class _Handler(BaseHTTPRequestHandler):
    of: ClassVar[dict[Any, TokenServer]] = {}

    def do_GET(self) -> None:
        tokens = self.of[self.server]
        query = parse_qs(urlsplit(self.path).query)
        scopes = tuple(query.get("scope", ()))
        user, right = self._who(tokens)
        tokens.asked.append((user, scopes))
        if user and not right:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong name or password"}]})
            return
        token = tokens.issue(*(scopes if right else ()))
        self._answer(200, {"token": token, "access_token": token, "expires_in": tokens.lives})

    def _who(self, tokens: TokenServer) -> tuple[str, bool]:
        kind, _, sent = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return "", False
        user, _, password = base64.b64decode(sent).decode().partition(":")
        return user, (user, password) == (tokens.user, tokens.password)

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
