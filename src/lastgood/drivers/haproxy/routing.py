"""Brings the backend to where requests shall go, and sees that it is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lastgood.domain.errors import OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.moves import Moves
from lastgood.drivers.haproxy.placing import Goal, Placing
from lastgood.drivers.haproxy.proxies import Proxies
from lastgood.drivers.haproxy.record import Files, Record
from lastgood.drivers.haproxy.runtime import RuntimeApi
from lastgood.drivers.haproxy.servers import View
from lastgood.drivers.haproxy.settings import Settings
from lastgood.ports.traffic import Leave, Share

ATTEMPTS = 10
"""A reload under way, or somebody else's hand, may undo what was told: it is told again."""
PAUSE = 0.01
END_SECONDS = 2.0


class Routing:
    """All changes of one unit's traffic. Each may die anywhere and be done again.

    The order is: write down which generation gets which slot, tell HAProxy, see that it is so, write down
    what HAProxy shall load when it starts, see that it is still so.
    """

    def __init__(self, settings: Settings, apis: Sequence[RuntimeApi], files: Files) -> None:
        self._settings = settings
        self._apis = apis
        self._files = files
        self._moves = Moves(settings)

    def bring(self, shares: Sequence[Share], leave: Leave) -> None:
        """Have exactly ``shares``. Raises what ``ports.drivers`` says."""
        record = self.require_record()
        proxies = Proxies(self._apis, urgent=leave is Leave.CUT)
        goal = Placing(self._settings, proxies.look(), record).goal(shares)
        if goal.record != record:
            self._files.keep(goal.record)
        if leave is Leave.DRAIN:
            self._warm_up(proxies, goal)
        try:
            self._settle_and_save(
                lambda: self._converge(proxies, lambda view: self._moves.switch(view, goal, leave))
            )
        finally:
            # Also when it could not be written down: nobody may stay where it is bad.
            if leave is Leave.CUT:
                self._end(proxies, goal)
        self._forget_originals(goal)
        proxies.conclude()

    def close(self, generation: str) -> None:
        """Nothing when one of its servers gets new requests."""
        record = self.require_record()
        proxies = Proxies(self._apis)
        behind = [s for view in proxies.look() for s in self._moves.behind(view, record, generation)]
        if not behind or any(server.receives for server in behind):
            return
        names = {server.name for server in behind}

        def settle() -> Sequence[View]:
            views = self._converge(proxies, lambda view: self._moves.out(view, names))
            servers = {view.socket: [view.servers[n] for n in names if n in view.servers] for view in views}
            proxies.change(views, lambda v: self._moves.end(s for s in servers[v.socket] if s.sessions))
            return views

        self._settle_and_save(settle)

    def require_record(self) -> Record:
        record = self._files.record()
        if record is None:
            raise Rejected(
                N_("the route of {unit} is not installed in HAProxy"),
                todo=N_("Install it first; a deploy does."),
                where=self._settings.sockets[0],
                unit=str(self._settings.unit),
            )
        return record

    def _warm_up(self, proxies: Proxies, goal: Goal) -> None:
        """Nobody is sent where HAProxy itself has not been. Raises Rejected when its check does not pass."""
        deadline = time.monotonic() + self._settings.check_wait
        moved: set[str] = set()
        while True:
            views = proxies.look()
            moved.update(name for view in views for name in self._moves.out_of_service(view, goal))
            if proxies.change(views, lambda view: self._moves.warm_up(view, goal)):
                proxies.change(proxies.look(), lambda view: self._moves.doubt(view, moved))
                continue
            cold = [(view, server) for view in views for server in self._moves.cold(view, goal)]
            if not cold:
                return
            if time.monotonic() >= deadline:
                view, server = min(
                    cold, key=lambda found: found[1].up
                )  # one that fails before one that waits
                proxies.change(views, lambda view: self._moves.put_back(view, moved))
                raise Rejected(
                    N_("HAProxy's own check of {address} did not pass in {seconds} s: {reason}"),
                    todo=N_(
                        "See that HAProxy reaches it, and that the check in haproxy.cfg is right for it."
                    ),
                    where=view.socket,
                    address=server.address,
                    seconds=f"{self._settings.check_wait:g}",
                    reason=server.check_text,
                )
            time.sleep(PAUSE)

    def _converge(self, proxies: Proxies, commands: Callable[[View], Sequence[str]]) -> Sequence[View]:
        """Tell until nothing is left to tell. Raises OutcomeUnknown when it does not stay."""
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE * max(0, attempt - 1))
            views = proxies.look()
            if not proxies.change(views, commands):
                return views
        left = [command for view in proxies.look() for command in commands(view)]
        if not left:
            return proxies.look()
        raise OutcomeUnknown(
            N_("HAProxy does not stay as it was told: {command} was said {count} times"),
            todo=N_("Find who else changes these servers; sending traffic again is safe."),
            where=self._settings.sockets[0],
            command=left[0],
            count=ATTEMPTS,
        )

    def _settle_and_save(self, settle: Callable[[], Sequence[View]]) -> None:
        """A reload between telling and saving comes up with the old state: so look again after saving."""
        for _ in range(ATTEMPTS):
            views = settle()
            if self._files.holds(views[0]):
                return
            self._files.save(views[0])
        raise OutcomeUnknown(
            N_("the servers of backend {backend} keep changing under our hands"),
            todo=N_("Find who else changes these servers; sending traffic again is safe."),
            where=self._settings.sockets[0],
            backend=self._settings.backend,
        )

    def _end(self, proxies: Proxies, goal: Goal) -> None:
        """Open requests may end by themselves within the grace; then they are ended."""
        grace = self._settings.cut_grace
        begun = time.monotonic()
        while True:
            views = proxies.look()
            lingering = [server for view in views for server in self._moves.lingering(view, goal)]
            passed = time.monotonic() - begun
            if not lingering:
                return
            if passed >= grace:
                proxies.change(views, lambda view: self._moves.end(self._moves.lingering(view, goal)))
            if passed >= grace + END_SECONDS:
                raise Rejected(
                    N_("{server} is out of service, and requests still come to it"),
                    todo=N_("Remove 'option persist' and 'force-persist' from its backend in haproxy.cfg."),
                    where=self._settings.sockets[0],
                    server=lingering[0].name,
                )
            time.sleep(PAUSE)

    def _forget_originals(self, goal: Goal) -> None:
        """The user's own servers that are as they were need no remembering."""
        restored = set() if goal.shared else goal.servers.keys() & goal.record.originals.keys()
        if restored:
            left = {k: v for k, v in goal.record.originals.items() if k not in restored}
            self._files.keep(replace(goal.record, originals=left))
