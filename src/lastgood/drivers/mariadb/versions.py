"""Servers that answer as MariaDB does, and are not the ones that this driver was tried on."""

from __future__ import annotations

import re

from lastgood.domain.message import N_, Message
from lastgood.drivers.mariadb.connection import Server, one

ATOMIC_FROM = (10, 6)
"""The first MariaDB that a kill leaves with the whole of a definition or none of it."""

_NUMBERS = re.compile(r"(\d+)\.(\d+)")


def caution(server: Server) -> Message | None:
    """Source of ``Cautions.caution``."""
    with server.session() as connection:
        version = str(one(connection, "SELECT VERSION()"))
    return of_version(version, server.spot.address)


def of_version(version: str, address: str) -> Message | None:
    """``version`` is the server's own word: ``10.11.14-MariaDB-0+deb12u2-log``, ``8.0.36``."""
    params = {"address": address, "version": version}
    if "mariadb" not in version.lower():
        return Message(
            N_(
                "{address} is not MariaDB ({version}), and nothing of this was tried on such a server: "
                "migrations go out and back as far as its statements are MariaDB's, lint speaks of MariaDB's "
                "locks, and there is no restore with what was written since"
            ),
            params,
        )
    # Some have another number in front, for the sake of old clients: 5.5.5-10.11.14-MariaDB.
    numbers = _NUMBERS.search(version.removeprefix("5.5.5-"))
    if numbers and (int(numbers[1]), int(numbers[2])) < ATOMIC_FROM:
        return Message(
            N_(
                "{address} is older than MariaDB 10.6 ({version}): killed in the middle of a definition, it "
                "may keep half of it, which nothing takes back then but the snapshot"
            ),
            params,
        )
    return None
