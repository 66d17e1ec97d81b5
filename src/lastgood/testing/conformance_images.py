"""What every engine with the ability KeepsImages must do; the fake passes it too."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lastgood.domain.errors import DriverError
from lastgood.domain.image import Image
from lastgood.ports.images import KeepsImages
from lastgood.testing.conformance_runs import raised


class KeepsImagesConformance(ABC):
    """Subclass it in a test module and answer the abstract hooks; no image of ours is there at first."""

    @abstractmethod
    def engine(self) -> KeepsImages:
        """The driver of this test's unit, the same place each time it is asked."""

    @abstractmethod
    def neighbour(self) -> KeepsImages:
        """The driver of another unit on the same engine."""

    @abstractmethod
    def image(self, name: str) -> Image:
        """One that is in the archive, and in no registry that answers."""

    @abstractmethod
    def lost(self) -> Image:
        """One that is nowhere."""

    @abstractmethod
    def prune(self) -> None:
        """Somebody removes every image that nothing protects."""

    @abstractmethod
    def prune_containers(self) -> None:
        """Somebody removes whatever protects an image, and is not running."""

    def test_an_engine_has_it_from_when_it_is_held(self) -> None:
        image = self.image("one")
        assert not self.engine().has(image)
        self.engine().hold(image)
        assert self.engine().has(image)

    def test_what_is_held_survives_a_pruning(self) -> None:
        image = self.image("one")
        self.engine().hold(image)
        self.engine().hold(image)
        self.prune()
        assert self.engine().has(image)

    def test_what_is_let_go_does_not(self) -> None:
        image = self.image("one")
        self.engine().hold(image)
        self.engine().let_go(image)
        self.engine().let_go(image)
        self.prune()
        assert not self.engine().has(image)

    def test_letting_one_go_keeps_the_others(self) -> None:
        one, other = self.image("one"), self.image("other")
        self.engine().hold(one)
        self.engine().hold(other)
        self.engine().let_go(one)
        self.prune()
        assert (self.engine().has(one), self.engine().has(other)) == (False, True)

    def test_letting_it_go_does_not_take_it_from_another_unit(self) -> None:
        image = self.image("one")
        self.engine().hold(image)
        self.neighbour().hold(image)
        self.engine().let_go(image)
        self.prune()
        assert self.neighbour().has(image)

    def test_what_was_pruned_all_the_same_is_held_again(self) -> None:
        image = self.image("one")
        self.engine().hold(image)
        self.prune_containers()
        self.prune()
        assert not self.engine().has(image)
        self.engine().hold(image)
        self.prune()
        assert self.engine().has(image)

    def test_a_protection_that_was_removed_is_made_again(self) -> None:
        image = self.image("one")
        self.engine().hold(image)
        self.prune_containers()
        assert self.engine().has(image)
        self.engine().hold(image)
        self.prune()
        assert self.engine().has(image)

    def test_what_is_nowhere_is_refused_and_not_there(self) -> None:
        image = self.lost()
        assert isinstance(raised(lambda: self.engine().hold(image)), DriverError)
        assert not self.engine().has(image)
        self.engine().let_go(image)
