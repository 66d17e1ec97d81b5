"""What is asked of a proxy: where requests go, in which shares, and how they leave.

Calls raise what ``ports.drivers`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Destination:
    """Where traffic goes: upstream addresses and the generation behind them. Empty: nowhere (503)."""

    generation: str = ""
    addresses: tuple[str, ...] = ()


class Leave(str, Enum):
    """How requests leave the destinations that get none any more.

    ``drain``: open requests and, where a cookie binds them, known visitors finish where they are until
    ``ShiftsTraffic.close``. ``cut``: what is behind is bad; everybody is sent elsewhere at once, open
    sessions are ended, cookies are overruled.
    """

    DRAIN = "drain"
    CUT = "cut"


@runtime_checkable
class ShiftsTraffic(Protocol):
    """Decides which generation gets the requests of a unit."""

    def install(self) -> None:
        """Have the route of this unit in the proxy; where it points is not changed."""

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        """Send all new requests to ``destination``, at once; ``leave`` says how the others end."""

    def current(self) -> Destination:
        """Where requests go now, as observed at the proxy; while they are split, the larger share. Addresses
        sorted.
        """

    def address(self) -> str:
        """host:port at which customers reach this unit."""


@dataclass(frozen=True)
class Share:
    """``percent`` of new requests goes to ``destination``."""

    destination: Destination
    percent: float


@runtime_checkable
class SplitsTraffic(Protocol):
    """A proxy that can send a share of the requests to one generation, and the rest to another."""

    def split(self, shares: Sequence[Share]) -> None:
        """Have exactly these shares (they add up to 100); ``route`` ends it."""

    def shares(self) -> tuple[Share, ...]:
        """As observed at the proxy, the largest first; those without requests are left out."""


@runtime_checkable
class DrainsTraffic(Protocol):
    """A proxy that knows what is still open at a destination that gets no new requests.

    It is named by its generation, ``""`` for a baseline's.
    """

    def open_requests(self, generation: str) -> int:
        """Requests and sessions still open there."""

    def close(self, generation: str) -> None:
        """End what is still open there and take it out; nothing when it gets new requests."""
