"""Whether haproxy.cfg has what a unit needs; if not, which lines are missing. It is never written to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.record import Files, Record
from lastgood.drivers.haproxy.runtime import RuntimeApi
from lastgood.drivers.haproxy.servers import View
from lastgood.drivers.haproxy.settings import Settings
from lastgood.drivers.haproxy.snippet import LEAST_SLOTS, backend_lines, slot_line, state_lines

OLDEST = (2, 6)


class Installing:
    def __init__(self, settings: Settings, apis: Sequence[RuntimeApi], files: Files) -> None:
        self._settings = settings
        self._apis = apis
        self._files = files

    def check(self) -> None:
        """Raises Unreachable, and Rejected with what to add to haproxy.cfg."""
        views = [self._view(api) for api in self._apis]
        for view in views:
            self._check_version(view)
            self._check_slots(view)
        for api in self._apis:
            api.require_admin()
        if self._files.record() is None:
            self._files.save(views[0])
            self._files.keep(Record())

    def _view(self, api: RuntimeApi) -> View:
        try:
            return api.look()
        except Rejected as error:
            if error.cause is not Cause.WRONG_PATH:
                raise
            raise self._missing(api.address, backend_lines(self._settings)) from error

    def _check_version(self, view: View) -> None:
        match = re.match(r"(\d+)\.(\d+)", view.version)
        if match is None or (int(match.group(1)), int(match.group(2))) < OLDEST:
            raise Rejected(
                N_("HAProxy {version} is too old: 2.6 or later is needed"),
                todo=N_("Upgrade HAProxy, or use another traffic driver."),
                where=view.socket,
                version=view.version or "?",
            )

    def _check_slots(self, view: View) -> None:
        slots = [server for name, server in view.servers.items() if self._settings.is_slot(name)]
        if view.backend.get("mode") != "http":
            raise self._missing(view.socket, ("mode http",))
        if len(slots) < LEAST_SLOTS:
            raise self._missing(view.socket, (*state_lines(self._settings), slot_line(self._settings)))
        if not all(server.named for server in slots):
            # Without a name HAProxy takes ports out of its state file, but no addresses.
            raise self._missing(view.socket, (slot_line(self._settings),))

    def _missing(self, socket: str, lines: Sequence[str]) -> Rejected:
        return Rejected(
            N_("haproxy.cfg lacks what {unit} needs in backend {backend}"),
            todo=N_("Have these lines in it, then reload HAProxy:\n{lines}"),
            where=socket,
            cause=Cause.WRONG_PATH,
            unit=str(self._settings.unit),
            backend=self._settings.backend,
            lines="\n".join(lines),
        )
