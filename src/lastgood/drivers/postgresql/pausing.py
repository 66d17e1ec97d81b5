"""All poolers in front of a database paused for a swap, and resumed whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lastgood.domain.errors import Cause, DriverError, Rejected, Unreachable
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.endpoints import Endpoint
from lastgood.drivers.postgresql.locks import Blocker
from lastgood.drivers.postgresql.pooler import MEANWHILE, Console, Pool, console, gone
from lastgood.sql.blockers import describe

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.5)
"""Seconds, from and to, between two attempts, in which the clients get on."""

Noted = Mapping[str, Any]
"""What has to be resumed, by place: the ``pools`` by name, and the ``settings`` that the pooler had."""

_SESSIONS = """
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(client_addr::text, 'local'),
       coalesce(state, 'unknown'), coalesce(query, ''), coalesce(xact_start, backend_start, now())
FROM pg_stat_activity WHERE pid = ANY(%s) ORDER BY 7, 1
"""


@dataclass(frozen=True)
class Poolers:
    """Those declared for the database of ``server``."""

    server: Server

    def refuse(self) -> None:
        """Raises DriverError where one does not answer, does not let us pause, or was paused by somebody."""
        for endpoint in self.server.settings.poolers:
            with console(endpoint, self.server.vault) as opened:
                opened.check()
                for pool in opened.pools(self.server.database):
                    self._refuse_paused(opened, pool)

    def notes(self) -> tuple[Message, ...]:
        """What a person should know of them before a swap."""
        found = []
        for endpoint in self.server.settings.poolers:
            try:
                with console(endpoint, self.server.vault) as opened:
                    pools = opened.pools(self.server.database)
            except DriverError as error:
                found.append(error.what)
                continue
            session = [pool.name for pool in pools if pool.session]
            words = {"address": endpoint.address, "names": ", ".join(session or [p.name for p in pools])}
            template = N_("the clients of the pooler {address} ({names}) wait, and get no error")
            if session:
                template = N_(
                    "the pooler {address} gives {names} a connection for as long as a client lives "
                    "(pool_mode=session): these clients are cut off as without a pooler; who connects "
                    "again waits"
                )
            elif not pools:
                words["database"] = self.server.database
                template = N_(
                    "no database of the pooler {address} leads to {database}: nobody comes by it now"
                )
            found.append(Message(template, words))
        return tuple(found)

    @contextlib.contextmanager
    def paused(self, live: Connection, begin: Callable[[Noted], None]) -> Iterator[None]:
        """No client of a pooler is in a transaction for as long as the block runs; what they send meanwhile
        waits. ``begin`` writes down what will have to be resumed, before each attempt.

        Raises Rejected with who is in the way when transactions do not end in ``lock_deadline``; each attempt
        makes the others wait for ``lock_timeout`` at most.
        """
        with ExitStack() as inside:
            vault, database = self.server.vault, self.server.database
            opened = [inside.enter_context(console(e, vault)) for e in self.server.settings.poolers]
            known = [(one, one.pools(database)) for one in opened]
            for where, pools in known:
                for pool in pools:
                    self._refuse_paused(where, pool)
            noted = {
                where.endpoint.place: {
                    "settings": _own(where.settings()),
                    "pools": [pool.name for pool in pools],
                }
                for where, pools in known
            }
            try:
                self._pause(live, known, lambda: begin(noted))
                yield
            except BaseException:
                with contextlib.suppress(DriverError):
                    self.resume(noted)
                raise
            _each(partial(where.resume, [pool.name for pool in pools]) for where, pools in known)

    def resume(self, noted: Noted) -> None:
        """Whoever paused them; one that is gone holds nobody. Raises DriverError after all were tried."""
        known = [e for e in self.server.settings.poolers if e.place in noted]
        for place in set(noted) - {e.place for e in self.server.settings.poolers}:
            log.warning("pooler %s is not declared any more, and may be paused: RESUME it by hand", place)
        _each(partial(self._resume, endpoint, noted[endpoint.place]) for endpoint in known)

    def _resume(self, endpoint: Endpoint, noted: Noted) -> None:
        try:
            with console(endpoint, self.server.vault) as opened:
                opened.resume(noted["pools"])
                # Where nobody came before, the first one may have come meanwhile, and was not let in.
                names = noted["pools"] or [pool.name for pool in opened.pools(self.server.database)]
                opened.calm(names, noted["settings"])
        except Unreachable as error:
            if not gone(error):
                raise
            log.warning("not resumed: %s", error)

    def _pause(
        self, live: Connection, known: list[tuple[Console, tuple[Pool, ...]]], begin: Callable[[], None]
    ) -> None:
        settings = self.server.settings
        deadline = time.monotonic() + settings.lock_deadline
        while True:
            begin()
            for where, pools in known:
                where.hush([pool.name for pool in pools])
            with ExitStack() as waiting:
                sent = [
                    (where, waiting.enter_context(console(where.endpoint, self.server.vault)), pool)
                    for where, pools in known
                    for pool in pools
                ]
                until = time.monotonic() + settings.lock_timeout
                blockers = _paused(live, [one for one in sent if not one[2].session], until)
                if blockers is None:
                    for where, asking, pool in sent:
                        if pool.session:
                            # Nothing ends by waiting: others are kept away, and who is in is thrown out.
                            asking.send("PAUSE", pool.name)
                            where.await_paused(pool.name)
                    return
                for where, pools in known:
                    where.resume([pool.name for pool in pools])
            if time.monotonic() > deadline:
                raise self._busy(blockers)
            time.sleep(random.uniform(*PAUSES))

    def _refuse_paused(self, where: Console, pool: Pool) -> None:
        if pool.paused:
            raise Rejected(
                N_("somebody has paused {name} in the pooler {address}"),
                todo=N_("If nobody needs that any more: RESUME {name}; in its console. Then try again."),
                where=where.endpoint.address,
                address=where.endpoint.address,
                name=pool.name,
            )

    def _busy(self, blockers: list[Blocker]) -> Rejected:
        return Rejected(
            N_("transactions of the pooler's clients do not end: {blockers}"),
            todo=N_("Wait for them to end, or end them, then try again; nobody was cut off."),
            where=self.server.spot.address,
            cause=Cause.TABLE_LOCK,
            blockers=describe(blockers) or "unknown",
        )


def _own(settings: Mapping[str, str]) -> dict[str, str]:
    """Those to be put back: one that is as for a pause was made so by a restore of another database behind
    the same pooler, which puts it back.
    """
    return {name: settings[name] for name, value in MEANWHILE.items() if settings[name] != value}


def _each(acts: Iterable[Callable[[], None]]) -> None:
    """All of them, whatever becomes of one. Raises the first DriverError."""
    failed: DriverError | None = None
    for act in acts:
        try:
            act()
        except DriverError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _paused(
    live: Connection, sent: Sequence[tuple[Console, Console, Pool]], until: float
) -> list[Blocker] | None:
    """None when all are; else who was in the way."""
    for _, asking, pool in sent:
        asking.send("PAUSE", pool.name)
    held = [(where, pool) for where, asking, pool in sent if not asking.pause(pool.name, until)]
    return [b for where, pool in held for b in _holding(live, where, pool)] if held else None


def _holding(live: Connection, where: Console, pool: Pool) -> list[Blocker]:
    """Sessions of the server that a pooler's clients are in, with the client behind each."""
    servers = {int(r["remote_pid"]): r for r in where.show("SERVERS") if r["database"] == pool.name}
    clients = {r["ptr"]: r for r in where.show("CLIENTS")}
    found = []
    for row in live.execute(_SESSIONS, (list(servers),)).fetchall():
        blocker = Blocker(*row)
        client = clients.get(servers[blocker.pid]["link"])
        if client is not None:
            blocker = replace(blocker, client=f"{client['addr']}:{client['port']}")
        found.append(blocker)
    return found


def note(connection: Connection, key: str, noted: Noted) -> None:
    """What the restore ``key`` is about to pause, in its copy."""
    connection.execute("UPDATE lastgood.restores SET poolers = %s WHERE key = %s", (json.dumps(noted), key))


def noted(connection: Connection) -> dict[str, Any]:
    """What restores in this database paused, and did not resume for all we know."""
    found: dict[str, Any] = {}
    if one(connection, "SELECT to_regclass('lastgood.restores') IS NOT NULL"):
        # One that an older version made has no such column.
        for (some,) in connection.execute("SELECT to_jsonb(r) -> 'poolers' FROM lastgood.restores r"):
            found |= some or {}
    return found


def forget(connection: Connection) -> None:
    connection.execute("UPDATE lastgood.restores SET poolers = '{}' WHERE poolers <> '{}'")
