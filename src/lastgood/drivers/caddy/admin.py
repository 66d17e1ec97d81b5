"""Caddy's admin API, and the private question to a unit's own server; vendor errors are mapped here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.caddy.config import UNIT_HEADER, VIEW_HOST, Write
from lastgood.drivers.caddy.pointer import parse
from lastgood.drivers.caddy.settings import Settings
from lastgood.ports.traffic import Destination

READ_TIMEOUT = 5.0
WRITE_TIMEOUT = 30.0
PROBE_BYTES = 4096
CUT = (httpx.NetworkError, httpx.RemoteProtocolError)
CUT_ATTEMPTS = 10
CUT_PAUSE = 0.01


def open_client(socket: str | None = None) -> httpx.Client:
    """Without keep-alive: a reload replaces the admin listener and closes what is open on it."""
    transport = httpx.HTTPTransport(
        uds=socket, verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    )
    return httpx.Client(transport=transport, timeout=READ_TIMEOUT, trust_env=False)


def ask(client: httpx.Client, url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """GET, again when the connection was cut: a reload cuts those that it finds half open."""
    for _ in range(CUT_ATTEMPTS):
        try:
            return client.get(url, headers=headers)
        except CUT:
            time.sleep(CUT_PAUSE)
    return client.get(url, headers=headers)


class Admin:
    """The admin API of one Caddy."""

    def __init__(self, address: str) -> None:
        self._where = address
        is_socket = address.startswith("/")
        self._base = "http://127.0.0.1" if is_socket else address
        self._client = open_client(address if is_socket else None)

    def config(self) -> tuple[Any, str]:
        """The whole configuration (None when Caddy has none) and its Etag."""
        answer = self._get("/config/")
        try:
            return answer.json(), answer.headers.get("Etag", "")
        except ValueError as error:
            raise self._refused(answer) from error

    def metrics(self) -> str:
        """The exposition in Prometheus' text format."""
        return self._get("/metrics").text

    def write(self, write: Write, etag: str) -> bool:
        """False when another writer was faster, or its reload cut us off: look again.

        Raises Rejected with Caddy's own reason, OutcomeUnknown when it takes longer than 30 s.
        """
        try:
            answer = self._client.request(
                write.method,
                self._base + write.path,
                json=write.value,
                headers={"If-Match": etag} if etag else {},
                timeout=WRITE_TIMEOUT,
            )
        except httpx.ConnectTimeout as error:
            raise self._unreachable(error) from error
        except CUT:
            return False
        except httpx.TransportError as error:
            raise OutcomeUnknown(
                N_("Caddy did not answer a change of its configuration: {reason}"),
                todo=N_("Look at the target first; installing again is safe."),
                where=self._where,
                reason=str(error) or type(error).__name__,
            ) from error
        if answer.status_code in (httpx.codes.PRECONDITION_FAILED, httpx.codes.CONFLICT):
            return False
        if not answer.is_success:
            raise self._refused(answer)
        return True

    def _get(self, path: str) -> httpx.Response:
        try:
            answer = ask(self._client, self._base + path)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise self._refused(answer)
        return answer

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            N_("the admin API of Caddy does not answer: {reason}"),
            todo=N_("Start Caddy, or correct the setting 'admin'."),
            where=self._where,
            cause=Cause.DEPENDENCY_DOWN,
            reason=str(error) or type(error).__name__,
        )

    def _refused(self, answer: httpx.Response) -> Rejected:
        return Rejected(
            N_("Caddy answered {status}: {reason}"),
            todo=N_("Correct what Caddy names, then try again."),
            where=self._where,
            cause=Cause.PERMISSION if answer.status_code == httpx.codes.FORBIDDEN else None,
            status=answer.status_code,
            reason=answer.text[:500].strip(),
        )


class UnitAddress:
    """The address at which customers reach the unit, asked from this machine."""

    def __init__(self, settings: Settings) -> None:
        host, _, port = settings.listen.rpartition(":")
        everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
        self.address = f"{everywhere.get(host, host)}:{port}"
        self._slug = settings.unit.slug
        self._client = open_client()

    def look(self) -> Destination | None:
        """Where Caddy itself reads that requests go; None when something else answers here."""
        try:
            answer = ask(self._client, f"http://{self.address}/", {"Host": VIEW_HOST})
        except httpx.TransportError as error:
            raise Unreachable(
                N_("the proxy does not answer: {reason}"),
                todo=N_("Start Caddy, or install the route again."),
                where=self.address,
                cause=Cause.DEPENDENCY_DOWN,
                reason=str(error) or type(error).__name__,
            ) from error
        if answer.headers.get(UNIT_HEADER) != self._slug:
            return None
        return parse(answer.text)

    def probe(self) -> str:
        """One response as text: status, headers without cookies, the body's first 4 KiB."""
        try:
            with self._client.stream("GET", f"http://{self.address}/") as answer:
                body = b""
                for part in answer.iter_bytes(PROBE_BYTES):
                    body += part
                    if len(body) >= PROBE_BYTES:
                        break
        except httpx.TransportError as error:
            return f"no response from {self.address}: {error or type(error).__name__}\n"
        hidden = {"set-cookie", "authorization"}
        headers = "".join(
            f"{key}: {'(hidden)' if key.lower() in hidden else value}\n"
            for key, value in answer.headers.multi_items()
        )
        text = body[:PROBE_BYTES].decode("utf-8", "replace")
        return f"{answer.http_version} {answer.status_code}\n{headers}\n{text}"
