"""The private question to nginx itself: where would a request with these digits go?"""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from dataclasses import dataclass

from lastgood.domain.errors import Cause, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.nginx.routes import ANSWER_HEADER, VIEW_HEADER, Told, read_answer
from lastgood.drivers.nginx.settings import Settings

TIMEOUT = 5.0
PROBE_BYTES = 4096
HIDDEN = {"set-cookie", "authorization"}


@dataclass(frozen=True)
class View:
    """Asks at the unit's own address and location, so that the answer took the way of a request."""

    settings: Settings

    def look(self, digits: str = "0/0/0") -> Told | None:
        """One question on a connection of its own; None when something else answers."""
        return self.look_all([digits])[0]

    def look_all(self, ways: Iterable[str]) -> list[Told | None]:
        """Raises Unreachable."""
        connection = self._connect()
        try:
            return [self._ask(connection, digits) for digits in ways]
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                N_("nginx does not answer: {reason}"),
                todo=N_("Start nginx, or correct the settings 'listen' and 'ask'."),
                where=self.settings.ask,
                cause=Cause.DEPENDENCY_DOWN,
                reason=str(error) or type(error).__name__,
            ) from error
        finally:
            connection.close()

    def require(self, told: Told | None) -> Told:
        """Raises Rejected when it is not the answer of this unit."""
        if told is None:
            raise Rejected(
                N_("at the address of {unit} something else answers"),
                todo=N_(
                    "Reload nginx; or correct the settings 'listen', 'host' and 'path', "
                    "so that they lead to the location that includes {path}."
                ),
                where=self.settings.ask,
                unit=str(self.settings.unit),
                path=str(self.settings.location),
            )
        return told

    def probe(self) -> str:
        """One response as text: status, headers without cookies, the body's first 4 KiB."""
        connection = self._connect()
        try:
            connection.request("GET", self.settings.path, headers={"Host": self.settings.host})
            answer = connection.getresponse()
            body = answer.read(PROBE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            return f"no response from {self.settings.ask}: {error or type(error).__name__}\n"
        finally:
            connection.close()
        headers = "".join(
            f"{key}: {'(hidden)' if key.lower() in HIDDEN else value}\n" for key, value in answer.getheaders()
        )
        return f"HTTP/1.1 {answer.status}\n{headers}\n{body.decode('utf-8', 'replace')}"

    def _connect(self) -> http.client.HTTPConnection:
        host, _, port = self.settings.ask.rpartition(":")
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT)

    def _ask(self, connection: http.client.HTTPConnection, digits: str) -> Told | None:
        """HEAD: what is not ours yet does as little as possible. A reload may close the connection between
        two questions, so a second one is opened.
        """
        headers = {"Host": self.settings.host, VIEW_HEADER: f"{self.settings.unit.slug} {digits}"}
        for is_last in (False, True):
            try:
                connection.request("HEAD", self.settings.path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                return read_answer(self.settings, answer.headers.get(ANSWER_HEADER, ""))
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                if is_last:
                    raise
        raise AssertionError("unreachable")
