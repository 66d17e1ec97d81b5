"""What every driver with the ability Runs (Observes, GivesEvidence) must do; the fake passes it too."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from lastgood.domain.errors import InvalidInput, LastgoodError, Rejected
from lastgood.domain.release import Artifact
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Generation, GivesEvidence, Observes, RoleStatus, Runs

T = TypeVar("T")
BOTH = (Role.WEB, Role.WORKER)


def eventually(look: Callable[[], T], within: float = 15.0) -> T:
    """The first true answer of ``look``; AssertionError when none came within so many seconds."""
    end = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < end, f"still {answer!r} after {within} s"
        time.sleep(0.01)
    return answer


class RuntimeHooks(ABC):
    """What the suites of a runtime need to know of it; each test gets a fresh unit."""

    @abstractmethod
    def driver(self) -> Runs:
        """The driver of this test's unit, the same place each time it is asked."""

    @abstractmethod
    def generation(self, id: str, broken: bool = False) -> Generation:
        """A generation with web and worker; ``broken``: its web runs and never gets ready."""

    @abstractmethod
    def crash(self, generation: str, role: Role) -> None:
        """Make a running role exit, unwanted."""

    def of(self, generation: str, role: Role) -> RoleStatus:
        return next(s for s in self.driver().status() if (s.generation, s.role) == (generation, role))

    def up(self, id: str) -> Generation:
        generation = self.generation(id)
        self.driver().prepare(generation)
        self.driver().start(generation, BOTH)
        eventually(lambda: all(self.driver().ready(generation, role).running for role in BOTH))
        return generation

    def forged(self) -> Generation:
        """One whose artifact (or image) is not what its digest says, or is nowhere to be had."""
        generation = self.generation("g1")
        assert generation.artifact is not None
        forged = Artifact(generation.artifact.digest, generation.artifact.files[:-1])
        return Generation("g1", generation.unit, generation.roles, forged, None)

    def unprepared(self) -> Generation:
        """One whose artifact (or image) is not yet where it runs."""
        return self.generation("g1")


class RunsConformance(RuntimeHooks):
    """Subclass it in a test module and answer the abstract hooks."""

    def test_nothing_is_known_at_first(self) -> None:
        assert self.driver().status() == ()
        assert not self.driver().ready(self.generation("g1"), Role.WEB).running

    def test_start_until_ready(self) -> None:
        self.up("g1")
        web, worker = self.of("g1", Role.WEB), self.of("g1", Role.WORKER)
        assert web.running
        assert worker.running
        assert web.pid != worker.pid
        assert [a.partition(":")[2].isdigit() for a in web.addresses] == [True]
        assert abs(time.time() - web.started) < 60
        assert (web.restarts, web.detail) == (0, "")

    def test_starting_again_changes_nothing(self) -> None:
        generation = self.up("g1")
        before = self.driver().status()
        self.driver().prepare(generation)
        for _ in range(3):
            self.driver().start(generation, BOTH)
        assert [(s.pid, s.started) for s in self.driver().status()] == [(s.pid, s.started) for s in before]

    def test_generations_run_side_by_side(self) -> None:
        self.up("g1")
        self.up("g2")
        statuses = self.driver().status()
        assert {(s.generation, s.role) for s in statuses} == {(g, r) for g in ("g1", "g2") for r in BOTH}
        assert all(s.running for s in statuses)
        assert len({s.pid for s in statuses}) == 4
        assert not set(self.of("g1", Role.WEB).addresses) & set(self.of("g2", Role.WEB).addresses)

    def test_roles_stop_one_by_one(self) -> None:
        self.up("g1")
        self.driver().stop("g1", [Role.WORKER])
        assert not self.of("g1", Role.WORKER).running
        assert self.of("g1", Role.WEB).running
        self.driver().stop("g1", [Role.WORKER, Role.WEB])
        assert not self.of("g1", Role.WEB).running
        assert self.of("g1", Role.WEB).pid == 0

    def test_what_was_stopped_starts_again(self) -> None:
        generation = self.up("g1")
        before = self.of("g1", Role.WEB).pid
        self.driver().stop("g1", BOTH)
        self.driver().stop("g1", BOTH)
        self.driver().start(generation, [Role.WEB])
        eventually(lambda: self.driver().ready(generation, Role.WEB).running)
        assert self.of("g1", Role.WEB).pid != before
        assert not self.of("g1", Role.WORKER).running

    def test_stopping_the_unknown_is_nothing(self) -> None:
        self.driver().stop("never-seen", BOTH)
        assert self.driver().status() == ()

    def test_a_role_that_it_has_not_is_refused(self) -> None:
        generation = self.generation("g1")
        self.driver().prepare(generation)
        assert isinstance(raised(lambda: self.driver().start(generation, [Role.SCHEDULER])), InvalidInput)

    def test_content_that_is_not_its_digest_is_refused(self) -> None:
        wrong = self.forged()
        assert isinstance(raised(lambda: self.driver().prepare(wrong)), (InvalidInput, Rejected))

    def test_starting_unprepared_is_refused(self) -> None:
        unprepared = self.unprepared()
        assert isinstance(raised(lambda: self.driver().start(unprepared, BOTH)), LastgoodError)
        assert not any(status.pid for status in self.driver().status())

    def test_never_ready_says_what_is_amiss(self) -> None:
        generation = self.generation("g1", broken=True)
        self.driver().prepare(generation)
        self.driver().start(generation, [Role.WEB])
        eventually(lambda: self.of("g1", Role.WEB).running)
        seen = self.driver().ready(generation, Role.WEB)
        assert not seen.running
        assert seen.detail

    def test_an_unwanted_exit_is_made_good_and_counted(self) -> None:
        self.up("g1")
        before = self.of("g1", Role.WORKER)
        self.crash("g1", Role.WORKER)
        after = eventually(lambda: (s := self.of("g1", Role.WORKER)).running and s.pid != before.pid and s)
        assert isinstance(after, RoleStatus)
        assert after.restarts == before.restarts + 1

    def test_the_fingerprint_tells_what_runs(self) -> None:
        driver = self.driver()
        assert isinstance(driver, Observes)
        seen = [driver.observe().fingerprint]
        generation = self.up("g1")
        seen.append(driver.observe().fingerprint)
        seen.append(driver.observe().fingerprint)
        self.driver().stop("g1", [Role.WORKER])
        seen.append(driver.observe().fingerprint)
        self.driver().start(generation, [Role.WORKER])
        eventually(lambda: self.of("g1", Role.WORKER).running)
        seen.append(driver.observe().fingerprint)
        assert seen[1] == seen[2] == seen[4]
        assert len(set(seen)) == 3

    def test_evidence_names_its_generation(self) -> None:
        driver = self.driver()
        assert isinstance(driver, GivesEvidence)
        self.up("g1")
        self.up("g2")
        names = {item.name for item in driver.evidence()}
        assert {f"{g}/{r.value}.log" for g in ("g1", "g2") for r in BOTH} <= names


def raised(call: Callable[[], object]) -> LastgoodError | None:
    try:
        call()
    except LastgoodError as error:
        return error
    return None
