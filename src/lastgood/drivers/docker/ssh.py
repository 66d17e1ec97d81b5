"""Talks to an engine through the system's own ssh client, one process per connection.

What runs at the other end is ``docker system dial-stdio``, as the docker command itself does it: no port is
opened, and keys, known hosts, jumps and agents are whatever ssh is configured to use.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

PING = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
CONNECT_SECONDS = 20.0


def command(host: str, config: Path | None) -> list[str]:
    """What is run for ``ssh://user@host:port``. Nobody is there to be asked for a password."""
    parts = urlsplit(host)
    target = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
    options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *(["-F", str(config)] if config else [])]
    port = ["-p", str(parts.port)] if parts.port else []
    return ["ssh", *options, *port, "--", target, "docker", "system", "dial-stdio"]


class _Connection(HTTPConnection):
    """A connection that is one end of a socket pair, whose other end is the client's input and output."""

    def __init__(self, argv: list[str]) -> None:
        super().__init__("localhost")
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Raises NewConnectionError with the client's complaint: then nothing was sent."""
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            end = theirs.fileno()
            self._process = subprocess.Popen(self._argv, stdin=end, stdout=end, stderr=errors)
            theirs.close()
            ours.settimeout(CONNECT_SECONDS)
            try:
                ours.sendall(PING)
                answer = http.client.HTTPResponse(ours)
                answer.begin()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                ours.close()
                self.close()
                errors.seek(0)
                words = errors.read(2000).decode(errors="replace").strip() or str(error)
                raise urllib3.exceptions.NewConnectionError(self, f"ssh: {words}") from None
        ours.settimeout(self.timeout if isinstance(self.timeout, float | int) else None)
        self.sock = ours

    def close(self) -> None:
        super().close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            self._process.wait()
            self._process = None


class _Pool(HTTPConnectionPool):
    def __init__(self, argv: list[str]) -> None:
        super().__init__("localhost", maxsize=1)
        self._argv = argv

    def _new_conn(self) -> _Connection:
        return _Connection(self._argv)


class SshAdapter(requests.adapters.HTTPAdapter):
    """Carries the requests of a client over ``argv``; one connection is kept open."""

    def __init__(self, argv: list[str]) -> None:
        super().__init__()
        self._pool = _Pool(argv)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        return request.path_url

    def close(self) -> None:
        super().close()
        self._pool.close()
