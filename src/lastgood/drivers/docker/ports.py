"""Which port of the engine's machine a container is given, for as long as it exists.

It is chosen here and not by the engine: an engine that chooses gives another one at each start, and then the
proxy's address is wrong after a crash or a reboot.
"""

from __future__ import annotations

import errno
import random
import socket

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.instance import listed
from lastgood.drivers.docker.settings import DockerSettings, is_ip
from lastgood.drivers.docker.wanted import Wanted

TAKEN = ("port is already allocated", "address already in use")


def is_taken(refused: str) -> bool:
    """Whether the engine could not start a container because of its port."""
    return any(word in refused for word in TAKEN)


class PortChoice:
    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine = engine
        self._settings = settings

    def choose(self, wanted: Wanted) -> int:
        """One that no container on this engine has, running or stopped, and that nobody listens on as far as
        can be seen from here. Raises Rejected when there is none.
        """
        low, high = self._settings.ports
        used = self._used()
        free = [port for port in range(low, high + 1) if port not in used]
        random.shuffle(free)
        for port in free:
            if not self._settings.is_local or self._is_free(port):
                return port
        raise Rejected(
            N_("no port from {low} to {high} is free for {role} of {generation}"),
            todo=N_("Widen the setting 'ports', or prune old generations."),
            where=self._settings.host,
            low=low,
            high=high,
            role=wanted.role.value,
            generation=wanted.generation.id,
        )

    def _used(self) -> set[int]:
        used = set()
        for entry in self._engine.containers([]):
            used.add(listed(entry).port)
            used |= {port.get("PublicPort", 0) for port in entry["Ports"]}
        return used

    def _is_free(self, port: int) -> bool:
        address = self._settings.address if is_ip(self._settings.address) else "0.0.0.0"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                return error.errno != errno.EADDRINUSE
        return True
