"""Which servers of a backend stand for a destination. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.record import Holding, Original, Record
from lastgood.drivers.haproxy.servers import Admin, Server, View, host_and_port, same_address
from lastgood.drivers.haproxy.settings import Settings, valid_address
from lastgood.drivers.haproxy.weights import weights_for
from lastgood.ports.traffic import Destination, Share

WHOLE = 100.0
NOTHING = Holding("", "")
TOLERANCE = 0.01
"""Percentage points by which shares may miss 100: they are sums of decimal fractions."""


@dataclass(frozen=True)
class Wanted:
    """What one server shall be. No address: the one it has. ``weight`` None: that of its configuration."""

    address: str = ""
    weight: int | None = None


@dataclass(frozen=True)
class Goal:
    """What the backend shall be: these servers take all new requests, and each of them shall be there.

    ``record`` is what has to be written down first.
    """

    servers: Mapping[str, Wanted]
    record: Record
    shared: bool


def refuse_impossible(shares: Sequence[Share]) -> None:
    """Raises InvalidInput for what can't be sent anywhere; the empty destination is nowhere."""
    for share in shares:
        destination = share.destination
        if destination.generation and not destination.addresses:
            raise InvalidInput(
                N_("the generation '{generation}' has no address"),
                todo=N_("Start its web role first."),
                generation=destination.generation,
            )
        for address in destination.addresses:
            if not valid_address(address) or host_and_port(address) is None:
                raise InvalidInput(
                    N_("HAProxy can't be told '{address}': it takes an IP address and a port"),
                    todo=N_("Let the runtime say where its roles listen as IP:port."),
                    address=address,
                )


def refuse_unwhole(shares: Sequence[Share]) -> None:
    """Raises InvalidInput unless these are different somewheres that add up to 100."""
    destinations = [share.destination for share in shares]
    whole = abs(sum(share.percent for share in shares) - WHOLE) <= TOLERANCE
    apart = len(set(destinations)) == len(destinations)
    somewhere = all(d.addresses for d in destinations)
    if not whole or not apart or not somewhere or any(share.percent < 0 for share in shares):
        raise InvalidInput(
            N_("these are no shares of all requests: {shares}"),
            todo=N_("Give different destinations with shares of 0 or more that add up to 100."),
            shares=", ".join(f"{s.percent:g} {s.destination.generation or '-'}" for s in shares) or "-",
        )


class Placing:
    """Finds a server for each address, the same in every HAProxy. ``views`` has one of each."""

    def __init__(self, settings: Settings, views: Sequence[View], record: Record) -> None:
        self._settings = settings
        self._views = views
        self._record = record
        common = set.intersection(*(set(view.servers) for view in views))
        self._names = [name for name in views[0].servers if name in common]
        self._slots = [name for name in self._names if settings.is_slot(name)]
        self._taken: set[str] = set()

    def goal(self, shares: Sequence[Share]) -> Goal:
        """Raises Rejected when there are too few free slots."""
        sharing = [share for share in shares if share.percent > 0 and share.destination.addresses]
        placed: list[dict[str, str]] = [{} for _ in sharing]
        homeless: list[tuple[int, str]] = []
        for number, share in enumerate(sharing):
            for address in share.destination.addresses:
                name = self._standing(share.destination, address)
                if name is None:
                    homeless.append((number, address))
                else:
                    placed[number][self._take(name)] = address
        free = self._free()
        if len(homeless) > len(free):
            raise self._too_few(len(homeless), len(free))
        for (number, address), name in zip(homeless, free, strict=False):
            placed[number][self._take(name)] = address
        record = self._recorded(sharing, placed)
        return Goal(self._weighted(sharing, placed, record), record, len(sharing) > 1)

    def _take(self, name: str) -> str:
        self._taken.add(name)
        return name

    def _everywhere(self, name: str, condition: Callable[[Server], bool]) -> bool:
        return all(condition(view.servers[name]) for view in self._views)

    def _standing(self, destination: Destination, address: str) -> str | None:
        """The server that has the address already, or lost it when its HAProxy forgot its state."""

        def is_there(server: Server) -> bool:
            return same_address(server.address, address)

        def can_be(server: Server) -> bool:
            return is_there(server) or server.admin is Admin.MAINT

        if not destination.generation:
            for name in self._names:
                original = self._record.originals.get(name)
                remembered = original is not None and same_address(original.address, address)
                foreign = name not in self._taken and not self._settings.is_slot(name)
                if foreign and (remembered or self._everywhere(name, is_there)):
                    return name
        free = [name for name in self._slots if name not in self._taken and self._everywhere(name, can_be)]
        for name in free:
            held = self._record.slots.get(name, NOTHING)
            if held.generation == destination.generation and same_address(held.address, address):
                return name

        def is_nobodys(server: Server) -> bool:
            """One that serves for another generation stays its own, even with the same address."""
            known = same_address(self._record.slots.get(server.name, NOTHING).address, server.address)
            return server.admin is Admin.MAINT or not known

        there = (n for n in free if any(is_there(view.servers[n]) for view in self._views))
        return next((name for name in there if self._everywhere(name, is_nobodys)), None)

    def _free(self) -> list[str]:
        """Slots out of service, those never filled first, then the longest filled; at last those that only
        known visitors could still use, when none of them is there.
        """

        def by_turn(name: str) -> int:
            held = self._record.slots.get(name)
            return held.turn if held else 0

        def idle(server: Server) -> bool:
            return not server.receives and server.sessions == 0

        left = sorted((name for name in self._slots if name not in self._taken), key=by_turn)
        out = [name for name in left if self._everywhere(name, lambda s: s.admin is Admin.MAINT)]
        return out + [name for name in left if name not in out and self._everywhere(name, idle)]

    def _recorded(self, sharing: Sequence[Share], placed: Sequence[Mapping[str, str]]) -> Record:
        """The slots as they will be, and the user's own servers as they are before they are touched."""
        turn = 1 + max((held.turn for held in self._record.slots.values()), default=0)
        slots = dict(self._record.slots)
        for share, servers in zip(sharing, placed, strict=True):
            for name, address in servers.items():
                generation, held = share.destination.generation, slots.get(name)
                if not self._settings.is_slot(name):
                    continue
                if held is None or (held.generation, held.address) != (generation, address):
                    slots[name] = Holding(generation, address, turn)
        staying = set(placed[0]) if len(placed) == 1 else set()
        originals = {
            server.name: Original(server.address, server.weight)
            for server in self._views[0].servers.values()
            if server.receives and not self._settings.is_slot(server.name) and server.name not in staying
        }
        return replace(self._record, slots=slots, originals={**originals, **self._record.originals})

    def _weighted(
        self, sharing: Sequence[Share], placed: Sequence[Mapping[str, str]], record: Record
    ) -> dict[str, Wanted]:
        ratios = [{name: self._ratio(name, record) for name in servers} for servers in placed]
        parts = [(share.percent, ratio) for share, ratio in zip(sharing, ratios, strict=True)]
        weights = weights_for(parts) if len(sharing) > 1 else {}
        wanted = {}
        for servers, ratio in zip(placed, ratios, strict=True):
            for name, address in servers.items():
                slot = self._settings.is_slot(name)
                usual = None if slot else ratio[name]
                wanted[name] = Wanted(address if slot else "", weights.get(name, usual))
        return wanted

    def _ratio(self, name: str, record: Record) -> int:
        """Servers of ours are equals; the user's own keep their proportions."""
        if self._settings.is_slot(name):
            return 1
        original = record.originals.get(name)
        return max(1, original.weight if original else self._views[0].servers[name].weight)

    def _too_few(self, needed: int, free: int) -> Rejected:
        total = len(self._slots)
        return Rejected(
            N_("{needed} server slots are needed in backend {backend}, and {free} of {total} are free"),
            todo=N_(
                "Close what still drains, or raise '{slots} 1-{total}' in haproxy.cfg to 1-{more} and reload."
            ),
            where=self._settings.sockets[0],
            needed=needed,
            backend=self._settings.backend,
            free=free,
            total=total,
            slots=self._settings.slots,
            more=total + needed - free,
        )
