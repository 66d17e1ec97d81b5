"""What the stories of the demonstration have in common: customers, watched rollouts, and the books."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lastgood.bootstrap.places import Places
from lastgood.bootstrap.service import Service
from lastgood.demo import estate
from lastgood.demo.ledger import LedgerResult, check
from lastgood.demo.processes import stop_shoppers
from lastgood.demo.world import CUSTOMERS, World, remember
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Mark, Rollout, RolloutState
from lastgood.domain.status import Progress
from lastgood.domain.unit import UnitId

DEV, STAGING, US, DE, JP = estate.UNITS
RATES: Mapping[UnitId, float] = {DEV: 27, STAGING: 27, US: 60, DE: 27, JP: 27}
"""Requests a second; every third is a checkout."""
WINDOWS = {"watch": "2500ms", "guard": "2s", "verify": "3s"}
LINGER = 1.0
"""Seconds that customers go on after the end, to see that it stays good."""


class Observer(Protocol):
    """Whoever shows the story while it happens."""

    def act(self, title: Message) -> None:
        """A new act begins."""

    def progress(self, unit: UnitId, progress: Progress) -> None:
        """Something happened on a unit. Called from several threads."""

    def outcome(self, words: Message) -> None:
        """How a change over all sites ended."""


@dataclass
class Told:
    """What happened, for the figures. Times are seconds since 1970."""

    world: World
    began: float
    good_commit: str = ""
    bad_commit: str = ""
    ends: dict[tuple[str, UnitId], Rollout] = field(default_factory=dict)
    """(act, unit) → the last rollout: act is ``good``, ``bad``, or what a story calls its own."""
    failed: str = ""
    """The rollout that broke its gate."""
    without_registry: str = ""
    """The rollback that had neither registry nor engine cache, on ``JP``."""
    in_containers: bool = False
    restored: str = ""
    """The rollout that took the database of ``US`` back; empty in the other stories."""
    prices_back: bool = False
    customers_left: float = 0.0
    ledger: LedgerResult | None = None
    ended: float = 0.0


class Acts:
    """One run of the demonstration in ``directory``; each story says what happens in it."""

    def __init__(self, directory: Path, observer: Observer) -> None:
        self._directory = directory
        self._observer = observer
        self._lock = threading.Lock()
        self._shopping: set[UnitId] = set()

    def tell(self) -> Told:
        """Play all acts. Raises LastgoodError when a part does not start; the outcome is in the result."""
        began = time.time()
        self._told = Told(self._open(), began)
        self._play()
        self._books()
        self._told.ended = time.time()
        return self._told

    def _open(self) -> World:
        """Start the world."""
        raise NotImplementedError

    def _play(self) -> None:
        """Everything between the start of the world and the books."""
        raise NotImplementedError

    @property
    def _world(self) -> World:
        return self._told.world

    def _act(self, title: str, **params: str) -> None:
        self._observer.act(Message(title, params))

    def _books(self) -> None:
        self._act(N_("The books: what customers were told against what the database holds"))
        stop_shoppers(self._world.directory)
        self._told.customers_left = time.time()
        urls = {label(unit): self._world.database_url(unit) for unit in self._shopping}
        self._told.ledger = check(self._world.seen, urls, since=self._back_at())
        # Somebody goes on buying, so that the reader's own commands have something to measure.
        self._customers(US, RATES[US] / 2)

    def _deploy(self, act: str, unit: UnitId, why: Mapping[str, str]) -> str:
        rollout = self._service_here().deploy(
            unit, reason=why["reason"], owner=why["owner"], impact=why["impact"]
        )
        self._follow(act, unit, rollout.id)
        return rollout.id

    def _follow(self, act: str, unit: UnitId, rollout: str) -> None:
        """Show a rollout, and its way back, to the end."""
        for progress in self._service_here().follow(rollout, lambda r: False):
            self._observer.progress(unit, progress)
            if any(e.step == "shift" and e.mark is Mark.DONE for e in progress.entries):
                self._customers(unit, RATES[unit])
            self._told.ends[act, unit] = progress.rollout

    def _service_here(self) -> Service:
        """Threads do not share a service."""
        return service_of(self._world)

    def _customers(self, unit: UnitId, rate: float) -> None:
        """Send customers to a unit, once; they are a process of their own."""
        with self._lock:
            if unit in self._shopping and rate == RATES[unit]:
                return
            self._shopping.add(unit)
            command = [sys.executable, "-m", "lastgood.demo.shoppers", "--rate", str(rate),
                       "--target", f"{label(unit)}={self._world.shop_url(unit)}",
                       "--out", str(self._world.seen)]  # fmt: skip
            log = os.open(
                self._world.directory / "customers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
            )
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            finally:
                os.close(log)
            self._told.world = remember(self._world, f"{CUSTOMERS} {label(unit)}", process.pid)

    def _must_be_verified(self, act: str, unit: UnitId) -> None:
        end = self._told.ends[act, unit]
        if end.kind is not PlanKind.DEPLOY or end.state is not RolloutState.VERIFIED:
            raise DriverError(
                N_("{unit} should have been verified, but it is {state}: {outcome}"),
                todo=N_('Look at it: lastgood show {rollout} (first: eval "$(lastgood demo env)")'),
                where=str(unit),
                unit=str(unit),
                state=end.state.value,
                outcome=str(end.outcome),
                rollout=end.id,
            )

    def _back_at(self) -> float | None:
        """When the traffic was back, as the journal has it."""
        return step_time(self._service_here(), f"{self._told.failed}-back", "back:shift", Mark.DONE)


def label(unit: UnitId) -> str:
    """How customers call a unit's shop."""
    return f"{unit.environment}/{unit.site}"


def service_of(world: World) -> Service:
    return Service(Places(world.state, world.key_file, world.estate))


def step_time(service: Service, rollout: str, step: str, mark: Mark) -> float | None:
    """Seconds since 1970 at which a step got a mark, None when it did not or the rollout is unknown."""
    known = {r.id for r in service.history(None, 200)[0]}
    if rollout not in known:
        return None
    entries = service.show(rollout)[0].entries
    return next((e.at.timestamp() for e in entries if e.step == step and e.mark is mark), None)
