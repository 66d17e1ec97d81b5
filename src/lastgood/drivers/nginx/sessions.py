"""What is still open between nginx and an address: seen in /proc, ended by the kernel (SOCK_DESTROY).

Only these connections are ended: nginx then ends the requests and web sockets behind them, and nobody else's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.nginx.control import Nginx

TABLES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}
OPEN_STATES = {"01", "02"}
"""Established, and on its way to be."""
PATIENCE = 5.0
PAUSE = 0.01
NETLINK_SOCK_DIAG = 4
SOCK_DESTROY = 21
REQUEST_WITH_ACK = 1 | 4
ANY = 0xFFFFFFFF
WITHOUT = N_(
    "Run lastgood as root beside nginx; or give the setting 'reload' and leave out 'pid': "
    "then open sessions end by themselves."
)
ANSWER = struct.Struct("=IHHIIi")


@dataclass(frozen=True)
class Connection:
    """Seen from nginx: ``remote`` is the upstream."""

    family: socket.AddressFamily
    local: tuple[str, int]
    remote: tuple[str, int]


class Sessions:
    """Connections of the workers of one nginx, those that finish included."""

    def __init__(self, nginx: Nginx) -> None:
        self._nginx = nginx
        self._proven = False

    def open(self, addresses: Iterable[str]) -> tuple[Connection, ...]:
        """Connections to ``addresses`` (host:port). Raises Rejected when they may not be seen."""
        wanted = {end for address in addresses for end in _resolved(address)}
        workers = [worker.pid for worker in self._nginx.workers()] if wanted else []
        if not workers:
            return ()
        own = {inode for pid in workers for inode in self._sockets(pid)}
        # One table shows all of the network namespace, which they share.
        table = _table(self._nginx.master().pid)
        return tuple(c for inode, c in table if inode in own and c.remote in wanted)

    def end(self, addresses: Iterable[str], grace: float) -> None:
        """Have none open to ``addresses``: those that don't end by themselves within ``grace`` seconds are
        ended. Raises Rejected when this user or this kernel can't.
        """
        wanted = tuple(addresses)
        deadline = time.monotonic() + grace
        while (left := self.open(wanted)) and time.monotonic() < deadline:
            time.sleep(PAUSE)
        deadline = time.monotonic() + PATIENCE
        while left:
            for connection in left:
                _destroy(connection)
            left = self.open(wanted)
            if left and time.monotonic() > deadline:
                raise OutcomeUnknown(
                    N_("{count} connections to {addresses} are ended, and others come"),
                    todo=N_("Look at what else nginx sends there; it is safe to repeat."),
                    count=len(left),
                    addresses=", ".join(wanted),
                )

    def prove(self) -> None:
        """Show, while nothing is wrong, that connections can be seen and ended. Raises Rejected."""
        if self._proven:
            return
        master = self._nginx.master().pid
        try:
            own, theirs = (Path(f"/proc/{p}/ns/net").readlink() for p in ("self", master))
        except OSError as error:
            raise _not_seen(master) from error
        if own != theirs:
            raise Rejected(
                N_("nginx has a network of its own: its open sessions can't be ended"), todo=WITHOUT
            )
        for worker in self._nginx.workers():
            list(self._sockets(worker.pid))
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            _destroy(Connection(socket.AF_INET, client.getsockname(), client.getpeername()))
        self._proven = True

    @staticmethod
    def _sockets(pid: int) -> Iterator[str]:
        """Inodes."""
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = str(entry.readlink())
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    yield target[8:-1]
        except (FileNotFoundError, ProcessLookupError):
            return
        except PermissionError as error:
            raise _not_seen(pid) from error


def _resolved(address: str) -> Iterator[tuple[str, int]]:
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return  # what has no address has no connections, a unix socket among them
    for *_, end in found:
        yield str(end[0]), int(end[1])


def _table(pid: int) -> Iterator[tuple[str, Connection]]:
    """(inode, connection) of each that is open where ``pid`` lives."""
    for family, name in TABLES.items():
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, remote, state, *rest = line.split()
            if state in OPEN_STATES:
                yield rest[5], Connection(family, _end(family, local), _end(family, remote))


def _end(family: socket.AddressFamily, text: str) -> tuple[str, int]:
    """``0100007F:1F90`` is 127.0.0.1:8080: each word of the address is in the machine's own order."""
    address, port = text.split(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)


def _destroy(connection: Connection) -> None:
    """One that is gone already is as wanted. See sock_diag(7)."""
    ends = struct.pack("!HH", connection.local[1], connection.remote[1])
    for end in (connection.local, connection.remote):
        ends += socket.inet_pton(connection.family, end[0]).ljust(16, b"\0")
    body = struct.pack("=BBBBI", connection.family, socket.IPPROTO_TCP, 0, 0, ANY) + ends
    body += struct.pack("=III", 0, ANY, ANY)  # any interface, no cookie
    head = struct.pack("=IHHII", 16 + len(body), SOCK_DESTROY, REQUEST_WITH_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(PATIENCE)
        kernel.sendto(head + body, (0, 0))
        number = -ANSWER.unpack_from(kernel.recv(4096))[5]
    if number not in (0, errno.ENOENT):
        raise Rejected(
            N_("open sessions can't be ended: {reason}"),
            todo=WITHOUT,
            cause=Cause.PERMISSION if number in (errno.EPERM, errno.EACCES) else None,
            reason=os.strerror(number),
        )


def _not_seen(pid: int) -> DriverError:
    return Rejected(
        N_("this user may not see the open sessions of nginx (process {pid})"),
        todo=WITHOUT,
        cause=Cause.PERMISSION,
        pid=pid,
    )
