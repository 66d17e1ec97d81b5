"""What runtimes must do that keep generations: room for one, its removal, and what somebody did to it."""

from __future__ import annotations

from abc import abstractmethod

from lastgood.domain.errors import Rejected
from lastgood.domain.unit import Role
from lastgood.ports.drivers import FindsDrift, Generation, HasRoom, RemovesGenerations
from lastgood.testing.conformance_runs import BOTH, RuntimeHooks, eventually, raised


class RemovesGenerationsConformance(RuntimeHooks):
    def remove(self, generation: str) -> None:
        driver = self.driver()
        assert isinstance(driver, RemovesGenerations)
        driver.remove(generation)

    def test_one_that_runs_is_not_removed(self) -> None:
        self.up("g1")
        assert isinstance(raised(lambda: self.remove("g1")), Rejected)
        self.driver().stop("g1", [Role.WEB])
        assert isinstance(raised(lambda: self.remove("g1")), Rejected)
        assert self.of("g1", Role.WORKER).running

    def test_nothing_of_it_is_known_afterwards_and_others_run_on(self) -> None:
        self.up("g1")
        self.up("g2")
        self.driver().stop("g1", BOTH)
        self.remove("g1")
        self.remove("g1")
        assert {s.generation for s in self.driver().status()} == {"g2"}
        assert all(s.running for s in self.driver().status())

    def test_what_was_removed_can_be_started_again(self) -> None:
        self.up("g1")
        self.driver().stop("g1", BOTH)
        self.remove("g1")
        self.up("g1")

    def test_removing_the_unknown_is_nothing(self) -> None:
        self.remove("never-seen")


class FindsDriftConformance(RuntimeHooks):
    @abstractmethod
    def end_by_hand(self, generation: str, role: Role) -> None:
        """Somebody stops a role, past lastgood."""

    @abstractmethod
    def remove_by_hand(self, generation: str, role: Role) -> None:
        """Somebody removes what a role runs as, past lastgood."""

    def subjects(self, generation: Generation) -> list[str]:
        driver = self.driver()
        assert isinstance(driver, FindsDrift)
        return [found.subject for found in driver.drift(generation)]

    def test_what_was_just_started_has_none(self) -> None:
        assert self.subjects(self.up("g1")) == []

    def test_what_was_never_started_is_missing(self) -> None:
        assert len(self.subjects(self.generation("g1"))) >= len(BOTH)

    def test_a_role_that_somebody_stopped_is_drift_until_it_is_started(self) -> None:
        generation = self.up("g1")
        self.end_by_hand("g1", Role.WORKER)
        assert any(Role.WORKER.value in subject for subject in self.subjects(generation))
        self.driver().start(generation, BOTH)
        assert self.subjects(generation) == []

    def test_a_role_that_somebody_removed_is_drift_until_it_is_started(self) -> None:
        generation = self.up("g1")
        self.remove_by_hand("g1", Role.WEB)
        assert any(Role.WEB.value in subject for subject in self.subjects(generation))
        self.driver().prepare(generation)
        self.driver().start(generation, BOTH)
        assert self.subjects(generation) == []


class HasRoomConformance(RuntimeHooks):
    @abstractmethod
    def hungry(self, id: str) -> Generation:
        """A generation that declares more than any machine has."""

    def refused(self, generation: Generation) -> Rejected | None:
        driver = self.driver()
        assert isinstance(driver, HasRoom)
        error = raised(lambda: driver.refuse_without_room(generation, BOTH))
        assert error is None or isinstance(error, Rejected)
        return error

    def test_what_declares_nothing_is_never_short(self) -> None:
        assert self.refused(self.generation("g1")) is None

    def test_what_declares_too_much_is_refused_with_figures(self) -> None:
        error = self.refused(self.hungry("g1"))
        assert error is not None
        numbers = [value for value in error.what.params.values() if isinstance(value, int)]
        assert len(numbers) >= 2

    def test_what_runs_already_needs_nothing(self) -> None:
        generation = self.hungry("g1")
        self.driver().prepare(generation)
        self.driver().start(generation, BOTH)
        eventually(lambda: all(self.of("g1", role).running for role in BOTH))
        assert self.refused(generation) is None
