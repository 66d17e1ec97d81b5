"""Servers that follow this one and are read from.

A rename reaches them like any row of the catalogue: it ends nobody there. A session that was in the live
database stays in it by its number, and reads the failed database until it goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import fence
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.endpoints import Endpoint

PATIENCE = 10.0
"""Seconds, for all replicas together, until they have replayed the swap; the shop is open meanwhile."""

# Others' rows hide who they are from a user without rights, but not their names; who sends changes row by row
# is in a database.
_ATTACHED = """
SELECT coalesce(r.application_name, '?') || coalesce(' (' || host(r.client_addr) || ')', '')
FROM pg_stat_replication r JOIN pg_stat_activity a USING (pid)
WHERE a.datname IS NULL AND r.application_name NOT IN ('pg_basebackup', 'pg_receivewal') ORDER BY 1
"""
_ABOUT = """
SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
            THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL)
"""
_THERE = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)"
_FOLLOWS = N_(
    "sessions on the replica {address} that are in the database are ended too, once it has replayed the "
    "swap; now it is {seconds} s behind"
)
_SILENT = N_(
    "the replica {address} does not answer, so that sessions there may go on reading the failed "
    "database: {error}"
)
_OTHER = N_("{address}, declared as a replica, does not follow this server: nobody is ended there")
_UNDECLARED = N_(
    "{count} replicas follow this server ({names}), and {declared} of them are declared in 'replicas' and "
    "answer: who is connected to another one goes on reading the failed database until he connects again"
)
_BEHIND = N_(
    "the replica {address} has not replayed the swap yet: end the sessions there that are in {failed} by "
    "hand, they read the failed database"
)
_NOT_ENDED = N_(
    "sessions on the replica {address} could not be ended; those in {failed} read the failed "
    "database: {error}"
)


@dataclass(frozen=True)
class Replicas:
    """Those declared for the database of ``server``."""

    server: Server

    def notes(self, live: Connection) -> tuple[Message, ...]:
        """Which of them follow the server and how far behind they are, and which ones nobody declared."""
        attached = [str(name) for (name,) in live.execute(_ATTACHED)]
        system = one(live, "SELECT system_identifier FROM pg_control_system()")
        following = 0
        found = []
        for endpoint in self.server.settings.replicas:
            words: dict[str, object] = {"address": endpoint.address}
            try:
                with self._at(endpoint).session() as connection:
                    row = connection.execute(_ABOUT).fetchone()
            except DriverError as error:
                found.append(Message(_SILENT, {**words, "error": str(error.what)}))
                continue
            assert row is not None, "the question always has an answer"
            standby, same, behind, direct = row
            if not standby or same != system:
                found.append(Message(_OTHER, words))
                continue
            following += bool(direct)
            found.append(Message(_FOLLOWS, {**words, "seconds": f"{max(behind or 0.0, 0.0):.1f}"}))
        if len(attached) > following:
            words = {"names": ", ".join(attached), "count": len(attached), "declared": following}
            found.append(Message(_UNDECLARED, words))
        return tuple(found)

    def end_readers(self, failed: str) -> tuple[Message, ...]:
        """End the sessions that are in the failed database, once a replica knows it by that name. Returns on
        which this could not be done.
        """
        deadline = time.monotonic() + PATIENCE
        return tuple(self._end(failed, deadline))

    def _end(self, failed: str, deadline: float) -> Iterator[Message]:
        for endpoint in self.server.settings.replicas:
            words = {"address": endpoint.address, "failed": failed}
            try:
                with self._at(endpoint).session() as connection:
                    while not one(connection, _THERE, failed):
                        if time.monotonic() > deadline:
                            yield Message(_BEHIND, words)
                            break
                        time.sleep(0.02)
                    else:
                        # Those that come from now on asked for it by its name.
                        fence.end_sessions(connection, failed)
            except DriverError as error:
                yield Message(_NOT_ENDED, {**words, "error": str(error.what)})

    def _at(self, endpoint: Endpoint) -> Server:
        settings = replace(self.server.settings, parameters=endpoint.parameters, password=endpoint.password)
        return Server(settings, self.server.vault, settings.database)
