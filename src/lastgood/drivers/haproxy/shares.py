"""Where requests go, out of what was seen. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.drivers.haproxy.record import Record
from lastgood.drivers.haproxy.servers import Admin, View
from lastgood.ports.traffic import Destination, Share


def shares_of(view: View, record: Record) -> tuple[Share, ...]:
    """The largest first. Weights decide, health does not: what is down now is meant to be up."""
    receiving = [server for server in view.servers.values() if server.receives]
    if not receiving:
        # Backup servers get requests exactly when there are no others.
        ready = [server for server in view.servers.values() if server.admin is Admin.READY]
        receiving = [server for server in ready if server.weight > 0]
    weights: dict[str, int] = {}
    addresses: dict[str, list[str]] = {}
    for server in receiving:
        generation, address = record.owner(server)
        weights[generation] = weights.get(generation, 0) + server.weight
        addresses.setdefault(generation, []).append(address)
    total = sum(weights.values())
    found = [
        Share(Destination(generation, tuple(sorted(addresses[generation]))), 100.0 * weight / total)
        for generation, weight in weights.items()
    ]
    return ordered(found)


def ordered(shares: Sequence[Share]) -> tuple[Share, ...]:
    return tuple(sorted(shares, key=lambda share: (-share.percent, share.destination.generation)))


def together(seen: Sequence[tuple[Share, ...]]) -> tuple[Share, ...]:
    """Of several HAProxies, each with as many requests as the others."""
    percents: dict[Destination, float] = {}
    for shares in seen:
        for share in shares:
            percents[share.destination] = percents.get(share.destination, 0.0) + share.percent / len(seen)
    return ordered([Share(destination, percent) for destination, percent in percents.items()])
