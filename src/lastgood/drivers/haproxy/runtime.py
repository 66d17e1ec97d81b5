"""The runtime API of one HAProxy; what it and the operating system refuse is mapped here."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.servers import Unreadable, View, parse

TIMEOUT = 5.0
LINE_BYTES = 8000
"""HAProxy reads a line of commands into one buffer, of 16 KiB when nobody changed it."""
OLD_PROCESS_ATTEMPTS = 50
OLD_PROCESS_PAUSE = 0.01
ALL = "-1"
"""Every proxy, to ``show stat``: by name it tells of a frontend, where one is called like the backend."""
SERVERS = "6 -1"
"""To ``show stat``: backends and their servers."""
LEVEL = "show cli level"
LEVELS = ("user", "operator", "admin")
DENIED = "ermission denied"
REFUSED = re.compile(r"^\[[0-3]\]: (.+)|^\[\d\]: (Unknown command)", re.MULTILINE)
"""Messages of severity error and worse, when ``set severity-output number`` was said before."""


class _Cut(Exception):
    """The connection ended before the answer did; ``text`` is what had come."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__("the connection was closed before the answer was whole")


class RuntimeApi:
    """One HAProxy at ``address``: the absolute path of a unix socket, or host:port.

    Each call is one connection with one line of commands: HAProxy begins with a line when it has all of it,
    so a death of ours never leaves half of one behind.
    """

    def __init__(self, address: str, backend: str) -> None:
        self.address = address
        self._backend = backend

    def look(self) -> View:
        """The backend as it is now. Raises Unreachable, and Rejected when there is no such backend."""
        proxy = self._backend
        for _ in range(OLD_PROCESS_ATTEMPTS):
            try:
                text = self._ask(
                    f"show info; show servers state {self._backend}; show stat {proxy} {SERVERS}"
                )
                view = parse(self.address, self._backend, text)
            except _Cut as error:
                raise self._not_understood(error.text) from error
            except Unreadable as error:
                if proxy == ALL:
                    raise self._not_understood(text) from error
                proxy = ALL
                continue
            if not view.stopping:
                return view
            # A reload is under way, and the process that leaves took our connection.
            time.sleep(OLD_PROCESS_PAUSE)
        raise self._unreachable("only a process that is stopping answers")

    def text(self, command: str) -> str:
        """The answer to a question. Raises Unreachable."""
        try:
            return self._ask(command)
        except _Cut as error:
            raise self._unreachable(_reason(error)) from error

    def _ask(self, command: str) -> str:
        """Raises Unreachable and _Cut."""
        connection = self._connect()
        try:
            return self._exchange(connection, command)
        except OSError as error:
            raise self._unreachable(_reason(error)) from error

    def require_admin(self) -> None:
        """Raises Rejected when this socket lets us look only."""
        if self.text(LEVEL).strip() != LEVELS[-1]:
            raise self._denied()

    def change(self, commands: Sequence[str]) -> None:
        """Have all of ``commands`` run, in order.

        Raises Unreachable when nothing was sent, Rejected with what HAProxy says, OutcomeUnknown when the
        answer is lost. A process that was stopping may have answered: look afterwards.
        """
        for number, line in enumerate(_lines(commands)):
            try:
                connection = self._connect()
            except Unreachable as error:
                if number:
                    raise self._lost(str(error)) from error
                raise
            try:
                answer = self._exchange(connection, f"set severity-output number; {line}; {LEVEL}")
            except (_Cut, OSError) as error:
                raise self._lost(_reason(error)) from error
            self._refuse(answer)

    def _connect(self) -> socket.socket:
        unix = self.address.startswith("/")
        host, _, port = self.address.rpartition(":")
        connection = socket.socket(
            socket.AF_UNIX if unix else socket.AF_INET6 if "[" in host else socket.AF_INET
        )
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(self.address if unix else (host.strip("[]"), int(port)))
        except PermissionError as error:
            connection.close()
            raise Rejected(
                N_("the runtime API of HAProxy may not be used by this user: {reason}"),
                todo=N_("Set mode, user or group of its 'stats socket' so that lastgood can write to it."),
                where=self.address,
                cause=Cause.PERMISSION,
                reason=_reason(error),
            ) from error
        except OSError as error:
            connection.close()
            raise self._unreachable(_reason(error)) from error
        return connection

    def _exchange(self, connection: socket.socket, line: str) -> str:
        """Raises _Cut when the answer is not whole: each ends with an empty line."""
        with connection:
            connection.sendall(line.encode() + b"\n")
            answer = bytearray()
            while part := connection.recv(65536):
                answer += part
        text = answer.decode("utf-8", "replace")
        if not text.endswith("\n\n"):
            raise _Cut(text)
        return text

    def _refuse(self, answer: str) -> None:
        """Raises when a command was refused, or the answer to the last one is missing."""
        if match := REFUSED.search(answer):
            reason = match.group(1) or match.group(2)
            if DENIED in reason:
                raise self._denied()
            raise Rejected(
                N_("HAProxy refused a command: {reason}"),
                todo=N_("Compare the backend in haproxy.cfg with what the driver's README asks for."),
                where=self.address,
                reason=reason,
            )
        if (answer.split() or [""])[-1] not in LEVELS:
            raise self._lost("the answer ended before the last command")

    def _denied(self) -> Rejected:
        return Rejected(
            N_("HAProxy does not let this socket change servers"),
            todo=N_("Give its 'stats socket' the level admin in haproxy.cfg, and reload HAProxy."),
            where=self.address,
            cause=Cause.PERMISSION,
        )

    def _not_understood(self, text: str) -> Rejected | Unreachable:
        if "an't find backend" in text or "No such proxy" in text:
            return Rejected(
                N_("HAProxy has no backend {backend}"),
                todo=N_("Add it to haproxy.cfg and reload HAProxy, or correct the setting 'backend'."),
                where=self.address,
                cause=Cause.WRONG_PATH,
                backend=self._backend,
            )
        if DENIED in text:
            return self._denied()
        if not text or text.startswith("Name: HAProxy"):
            return self._unreachable(_reason(_Cut(text)))
        return Rejected(
            N_("the answer is not that of HAProxy 2.6 or later: {text}"),
            todo=N_("Correct the setting 'sockets': it names the runtime API ('stats socket')."),
            where=self.address,
            text=text[:200].strip(),
        )

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(
            N_("the runtime API of HAProxy does not answer: {reason}"),
            todo=N_("Start HAProxy, or correct the setting 'sockets'."),
            where=self.address,
            cause=Cause.DEPENDENCY_DOWN,
            reason=reason,
        )

    def _lost(self, reason: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            N_("HAProxy went away while it was told where requests go: {reason}"),
            todo=N_("Look at the target first; sending traffic again is safe."),
            where=self.address,
            reason=reason,
        )


def _lines(commands: Sequence[str]) -> list[str]:
    """Joined in order into as few lines as the buffer allows."""
    lines: list[str] = []
    for command in commands:
        if lines and len(lines[-1]) + len(command) + 2 <= LINE_BYTES:
            lines[-1] += f"; {command}"
        else:
            lines.append(command)
    return lines


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
