"""From what is there to what is wanted, as commands of the runtime API. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from lastgood.drivers.haproxy.placing import Goal, Wanted
from lastgood.drivers.haproxy.record import Record
from lastgood.drivers.haproxy.servers import Admin, Server, View, host_and_port, same_address
from lastgood.drivers.haproxy.settings import Settings
from lastgood.ports.traffic import Leave


class Moves:
    """Commands for one backend. Each list is empty exactly when nothing is left to do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def warm_up(self, view: View, goal: Goal) -> list[str]:
        """Have the wanted servers checked by HAProxy, without a new request: that is what drain does."""
        commands: list[str] = []
        for server, wanted in self._pairs(view, goal):
            commands += self._fill(server, wanted)
            if self._is_out(server, wanted):
                commands += [*self._weigh(server, wanted), self._set(server.name, Admin.DRAIN)]
        return commands

    def cold(self, view: View, goal: Goal) -> list[Server]:
        """Those that get no request yet, and HAProxy's own check has not passed."""
        return [s for s, wanted in self._pairs(view, goal) if not s.receives and not s.passed]

    def doubt(self, view: View, names: Iterable[str]) -> list[str]:
        """Have those of ``names`` count as down until a check passes, where a first pass would not show."""
        servers = [view.servers[name] for name in names if name in view.servers]
        doubtful = [s for s in servers if s.checks and s.up and not s.first_pass_shows]
        return [f"set server {self._name(s.name)} health down" for s in doubtful]

    def put_back(self, view: View, names: Iterable[str]) -> list[str]:
        """Those of ``names`` out of service again that never got a request."""
        there = [view.servers[name] for name in names if name in view.servers]
        return [self._set(s.name, Admin.MAINT) for s in there if s.admin is Admin.DRAIN]

    def out_of_service(self, view: View, goal: Goal) -> set[str]:
        """Names of the wanted ones that have to be filled or entered first."""
        return {s.name for s, wanted in self._pairs(view, goal) if self._is_out(s, wanted)}

    def switch(self, view: View, goal: Goal, leave: Leave) -> list[str]:
        """Everything else to the goal. The wanted servers come before the others leave. Shares are weighed
        before anybody new comes in: HAProxy goes on with a line when it refuses one of its commands.
        """
        fill: list[str] = []
        before: list[str] = []
        enter: list[str] = []
        after: list[str] = []
        for server, wanted in self._pairs(view, goal):
            fill += self._fill(server, wanted)
            weigh = self._weigh(server, wanted)
            if server.receives and not goal.shared:
                after += weigh
            else:
                before += weigh
            if server.admin is not Admin.READY or self._moves(server, wanted):
                enter.append(self._set(server.name, Admin.READY))
        if goal.shared and before:
            return [*fill, *before]
        exits = self.leaving(view, goal, leave)
        state = Admin.MAINT if leave is Leave.CUT else Admin.DRAIN
        return [*fill, *before, *enter, *(self._set(s.name, state) for s in exits), *after]

    def leaving(self, view: View, goal: Goal, leave: Leave) -> list[Server]:
        """Draining takes those that get new requests; a cut takes all that may still serve anybody."""
        others = [s for s in view.servers.values() if s.name not in goal.servers and not s.backup]
        if leave is Leave.DRAIN:
            return [s for s in others if s.receives]
        ours = [s for s in others if self._is_slot(s) or s.receives or s.name in goal.record.originals]
        return [s for s in ours if s.admin is not Admin.MAINT]

    def out(self, view: View, names: Iterable[str]) -> list[str]:
        """Take them out of service."""
        there = [view.servers[name] for name in names if name in view.servers]
        return [self._set(s.name, Admin.MAINT) for s in there if s.admin is not Admin.MAINT]

    def lingering(self, view: View, goal: Goal) -> list[Server]:
        """Those that a cut took out of service and where something is open still."""
        others = [s for s in view.servers.values() if s.name not in goal.servers and s.sessions]
        ours = [s for s in others if self._is_slot(s) or s.name in goal.record.originals]
        return [s for s in ours if s.admin is Admin.MAINT]

    def end(self, servers: Iterable[Server]) -> list[str]:
        return [f"shutdown sessions server {self._name(s.name)}" for s in servers]

    def behind(self, view: View, record: Record, generation: str) -> list[Server]:
        """The servers of a generation. Without one: what is in slots and not known, and the user's own that
        were taken out of service by us.
        """
        return [
            server
            for server in view.servers.values()
            if (self._is_slot(server) or server.receives or server.name in record.originals)
            and not server.backup
            and record.owner(server)[0] == generation
            and (generation or not self._is_slot(server) or server.admin is not Admin.MAINT)
        ]

    def _pairs(self, view: View, goal: Goal) -> list[tuple[Server, Wanted]]:
        return [(view.servers[name], wanted) for name, wanted in goal.servers.items() if name in view.servers]

    def _moves(self, server: Server, wanted: Wanted) -> bool:
        return bool(wanted.address) and not same_address(wanted.address, server.address)

    def _is_out(self, server: Server, wanted: Wanted) -> bool:
        return server.admin is Admin.MAINT or self._moves(server, wanted)

    def _fill(self, server: Server, wanted: Wanted) -> list[str]:
        """Give a slot its address; whoever is still at the old one would be counted for the new one."""
        if not self._moves(server, wanted):
            return []
        ip, port = host_and_port(wanted.address) or ("", "")
        name = self._name(server.name)
        empty = [] if server.admin is Admin.MAINT else [self._set(server.name, Admin.MAINT)]
        end = [f"shutdown sessions server {name}"] if server.sessions else []
        return [*empty, *end, f"set server {name} addr {ip} port {port}"]

    def _weigh(self, server: Server, wanted: Wanted) -> list[str]:
        weight = server.initial if wanted.weight is None else wanted.weight
        if weight == server.weight:
            return []
        # Algorithms that can't change weights, such as static-rr, still take the one of the configuration.
        text = "100%" if weight == server.initial else str(weight)
        return [f"set server {self._name(server.name)} weight {text}"]

    def _is_slot(self, server: Server) -> bool:
        return self._settings.is_slot(server.name)

    def _set(self, name: str, admin: Admin) -> str:
        return f"set server {self._name(name)} state {admin.value}"

    def _name(self, name: str) -> str:
        return f"{self._settings.backend}/{name}"
