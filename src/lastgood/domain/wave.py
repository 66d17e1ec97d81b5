"""How a change goes over many units: which come first, how many at once, when the next ones begin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lastgood.domain.unit import UnitId


class Wait(str, Enum):
    """What a unit must have passed before the next wave begins: its watch, or its whole guard window."""

    WATCH = "watch"
    GUARD = "guard"


@dataclass(frozen=True)
class WavePolicy:
    """What an environment declares. ``canary`` is a site, empty for none; ``size`` units make a wave: where
    it is 0, ``share`` of the change's units (0 to 1). At most ``concurrency`` units are at work at once;
    ``pause`` seconds lie between two waves.
    """

    canary: str = ""
    size: int = 0
    share: float = 0.25
    concurrency: int = 4
    wait: Wait = Wait.WATCH
    pause: float = 0.0


@dataclass(frozen=True)
class Member:
    """One unit of a change: it goes from ``base`` to ``target`` (release digests) by the plan with the digest
    ``plan``, which is empty on a way back: that is planned when its turn comes.

    ``number`` counts from 1 in the order of the change. ``after``: units of the same wave that must have
    passed before this one begins. ``undoes``: the rollout that is taken back.
    """

    number: int
    unit: UnitId
    base: str
    target: str
    plan: str = ""
    after: tuple[UnitId, ...] = ()
    undoes: str = ""


Wave = tuple[Member, ...]
