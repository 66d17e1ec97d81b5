"""A whole unit in memory: real store, engine, planning and handlers; fakes for what lies outside.

Time passes only when somebody sleeps, and then customers come: what they got is what the criteria measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from lastgood.actions.abilities import files_of, generation_id, generation_of, release_name
from lastgood.actions.accepting import accept_plan
from lastgood.actions.captures import end_needless
from lastgood.actions.context import Actor, Context
from lastgood.actions.finish import RolloutPrograms
from lastgood.actions.plan_change import move_between
from lastgood.actions.rollback import rollback
from lastgood.actions.steps.table import handlers
from lastgood.actions.steps.tools import Tools
from lastgood.domain.criterion import Criterion, Signal, SignalKind
from lastgood.domain.digest import digest_bytes
from lastgood.domain.image import Image
from lastgood.domain.release import CanaryStep, FileEntry, Keep, Release, RoleSpec, Windows
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.engine.handlers import Probe, no_probe
from lastgood.engine.interpreter import Interpreter
from lastgood.planning.moves import plan_deploy
from lastgood.ports.drivers import Reading
from lastgood.ports.traffic import Destination
from lastgood.store.database import SqlStore
from lastgood.store.images import FileImages
from lastgood.store.resolver import SecretSources
from lastgood.testing.fake_engine import FakeCache, FakeEngine
from lastgood.testing.fake_files import FakeFiles, FakeObjects, FakeVault
from lastgood.testing.fake_registry import FakeRegistry
from lastgood.testing.fake_traffic import FakeTraffic
from lastgood.testing.images import ImageBuild

UNIT = UnitId("shop", "prod", "us")
OTHER = UnitId("shop", "prod", "de")
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Stands until somebody sleeps."""

    def __init__(self) -> None:
        self.time = BEGAN
        self.passes: list[Callable[[float], None]] = []

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=max(seconds, 0.01))
        for happens in self.passes:
            happens(seconds)


class Proxy(FakeTraffic):
    """Also Measures: counts what customers got, as a whole and by generation."""

    def __init__(self, unit: UnitId) -> None:
        super().__init__(unit)
        self.counts: dict[str, tuple[int, int]] = {}
        self.bad: set[str] = set()

    def customers(self, count: int) -> None:
        for _ in range(count):
            status, generation = self.ask()
            good = status == 200 and generation not in self.bad
            for name in {"", generation}:
                counted = self.counts.get(name, (0, 0))
                self.counts[name] = (counted[0] + good, counted[1] + 1)

    def leave(self, generation: str) -> None:
        """Everybody whose requests were open there goes away."""
        self._open(generation, 0)

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        return {"from": list(self._counted(signal))}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        good, total = self._counted(signal)
        return Reading(cursor, good - int(cursor["from"][0]), total - int(cursor["from"][1]))

    def _counted(self, signal: Signal) -> tuple[int, int]:
        return self.counts.get(str(signal.settings.get("generation", "")), (0, 0))


@dataclass
class Database:
    """HasConnections, and Migrates as far as nobody migrates anything."""

    free: int = 100

    def applied(self) -> tuple[tuple[str, str], ...]:
        return ()

    fingerprint = deploy = revert = rehearse = applied

    def free_connections(self) -> int:
        return self.free


@dataclass
class FakeDrivers:
    """Drivers by unit and name."""

    built: dict[tuple[UnitId, str], object] = field(default_factory=dict)

    def get(self, unit: UnitId, target: Target) -> object:
        return self.built[unit, target.driver]


def release(text: str, unit: UnitId = UNIT, **changes: Any) -> Release:
    """A release whose configuration says ``text``, from a commit of that name."""
    signal = Signal("answers", SignalKind.RATIO, "proxy")
    made = Release(
        unit, f"commit-{text}",
        files=(FileEntry("shop.toml", digest_bytes(text.encode())),),
        roles=(RoleSpec(Role.WEB, ("web",)), RoleSpec(Role.WORKER, ("worker",))),
        files_target=Target("files"), runtime=Target("runtime"), traffic=Target("proxy"),
        registry=Target("registry"),
        criteria=(Criterion("answers", signal, 0.95, 2.0, 20),),
        windows=Windows(watch=2.0, guard=2.0, verify=2.0, drain=2.0),
    )  # fmt: skip
    return replace(made, **changes)


class Theatre:
    """``UNIT`` (and ``OTHER``) behind fakes; ``rate`` customers come each second."""

    def __init__(self, store: SqlStore, clock: Clock, directory: Path) -> None:
        self.store, self.clock, self.rate = store, clock, 200.0
        self._coming = 0.0
        self.objects, self.images = FakeObjects(), FileImages(directory / "images")
        self.cache = FakeCache()
        self.runtimes = {
            unit: FakeEngine(self.objects, self.images, self.cache, unit.slug) for unit in (UNIT, OTHER)
        }
        self.database = Database()
        self.traffic = {unit: Proxy(unit) for unit in (UNIT, OTHER)}
        self.registry = FakeRegistry("registry.example.com", self.images)
        self.drivers = FakeDrivers()
        for unit in (UNIT, OTHER):
            fakes = {
                "runtime": self.runtimes[unit],
                "files": FakeFiles(self.objects),
                "database": self.database,
                "registry": self.registry,
                "proxy": self.traffic[unit],
            }
            for name, fake in fakes.items():
                self.drivers.built[unit, name] = fake
        self.context = Context(
            store, self.objects, self.images, FakeVault(), SecretSources(None), self.drivers, clock,
            Actor("ann", "here"), directory,
        )  # fmt: skip
        self.directory = directory
        clock.passes.append(self._come)

    @property
    def runtime(self) -> FakeEngine:
        return self.runtimes[UNIT]

    @property
    def proxy(self) -> Proxy:
        return self.traffic[UNIT]

    def _come(self, seconds: float) -> None:
        self._coming += seconds * self.rate
        count, self._coming = int(self._coming), self._coming % 1
        for proxy in self.traffic.values():
            proxy.customers(count)

    def release(self, text: str, unit: UnitId = UNIT, **changes: Any) -> Release:
        self.objects.put(text.encode())
        return release(text, unit, **changes)

    def image(self, name: str) -> Image:
        """One that was fetched."""
        made = self.push(name)
        self.registry.fetch(made, self.images)
        return made

    def push(self, tag: str, text: str = "") -> Image:
        """``text`` is in it, the tag if there is none; a tag that was there moves."""
        build = ImageBuild(["/x"], files={"/x": ((text or tag).encode(), 0o755)}, busybox=False)
        return self.registry.push(f"shop/web:{tag}", build)

    def stand(self, release: Release) -> Release:
        """Have a unit on ``release``, with a verified restore point."""
        unit_id = release.unit
        generation = generation_of(self.drivers, release)
        if places := files_of(self.drivers, release):
            places.switch(release_name(release))
        runtime = self.runtimes[unit_id]
        runtime.prepare(generation)
        runtime.start(generation, [spec.role for spec in release.roles])
        proxy = self.traffic[unit_id]
        proxy.install()
        proxy.route(Destination(generation.id, self.addresses(release)))
        return self._keep(release, f"rp-{release_name(release)}", PointKind.VERIFIED)

    def _keep(self, release: Release, point: str, kind: PointKind) -> Release:
        now = self.clock.now()
        with self.store.write() as unit:
            unit.releases.put(release)
            unit.releases.set_current(release.unit, release.digest, now)
            unit.points.add(RestorePoint(point, release.unit, release.digest, kind, now))
        return release

    def stand_baseline(self, baseline: Release) -> Release:
        """Have a unit on what was observed before the first change."""
        proxy = self.traffic[baseline.unit]
        proxy.install()
        proxy.route(Destination("", baseline.upstreams))
        return self._keep(baseline, f"rp-{baseline.unit.slug}-baseline", PointKind.BASELINE)

    def addresses(self, release: Release) -> tuple[str, ...]:
        wanted = generation_id(release)
        seen = [
            s for s in self.runtimes[release.unit].status() if s.generation == wanted and s.role is Role.WEB
        ]
        return tuple(sorted(address for status in seen for address in status.addresses))

    def accept(self, target: Release, *, automatic: bool = True) -> Rollout:
        with self.store.read() as unit:
            base = unit.releases.get(unit.releases.current(target.unit))
        plan = replace(plan_deploy(move_between(self.context, base, target)), automatic=automatic)
        request = Request("test", "team", "nobody", "ann", self.clock.now())
        return accept_plan(self.context, plan, target, request)

    def run(self, rollout: str, probe: Probe = no_probe) -> Rollout:
        """Bring a rollout to its end, and the way back that follows from it."""
        tools = Tools(
            self.drivers, self.objects, self.context.vault, self.images, self.directory / "evidence"
        )
        programs = RolloutPrograms(
            self.store,
            self.clock,
            "here",
            self.context.vault,
            partial(end_needless, self.store, self.drivers, self.context.vault, self.clock),
        )
        interpreter = Interpreter(self.store, programs, handlers(tools), self.clock, probe)
        interpreter.run(rollout)
        end = self.rollout(rollout)
        return self.run(f"{rollout}-back", probe) if end.state is RolloutState.RETURNED else end

    def deploy(self, target: Release) -> Rollout:
        return self.run(self.accept(target).id)

    def deploy_well(self, target: Release) -> Release:
        end = self.deploy(target)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        return target

    def go_back(self, unit: UnitId = UNIT, to: str = "") -> Rollout:
        return self.run(rollback(self.context, unit, to=to))

    def rollout(self, rollout: str) -> Rollout:
        with self.store.read() as unit:
            return unit.rollouts.get(rollout)

    def result(self, rollout: str, step: str) -> dict[str, Any]:
        with self.store.read() as unit:
            last = unit.journal.last(rollout, step)
        assert last is not None, step
        return dict(last.data)

    def running(self, role: Role) -> list[str]:
        """Generations in which ``role`` runs."""
        return [s.generation for s in self.runtime.status() if s.running and s.role is role]

    def serves(self, release: Release) -> bool:
        """All requests go to it, and everything else of the unit is as released."""
        wanted = Destination(generation_id(release), self.addresses(release))
        return [(s.destination, s.percent) for s in self.traffic[release.unit].shares()] == [(wanted, 100.0)]


CANARY = (CanaryStep(5.0, 2.0), CanaryStep(25.0, 2.0))
KEEP_TWO = Keep(restore_points=2)
