"""What every driver with the ability Places (and Observes) must do; the fake passes it too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import InvalidInput, LastgoodError, Rejected
from lastgood.domain.observation import DriftKind
from lastgood.domain.release import FileEntry
from lastgood.ports.content import Objects
from lastgood.ports.drivers import Observes, Places

FIRST = digest_bytes(b"first release")
SECOND = digest_bytes(b"second release")


class PlacesConformance(ABC):
    """Subclass it in a test module and answer the abstract hooks; each test gets a fresh unit."""

    @abstractmethod
    def driver(self) -> Places:
        """The driver of this test's unit, the same place each time it is asked."""

    @abstractmethod
    def objects(self) -> Objects: ...

    @abstractmethod
    def edit(self, path: str, content: bytes | None) -> None:
        """Change a file of the current directory behind the driver's back; None removes it."""

    @abstractmethod
    def kept_aside(self, content: bytes) -> bool:
        """Whether ``content`` was set aside rather than lost."""

    def files(self, **contents: str) -> tuple[FileEntry, ...]:
        """Keyword names are paths with ``__`` for ``/``."""
        return tuple(
            FileEntry(name.replace("__", "/"), self.objects().put(text.encode()))
            for name, text in contents.items()
        )

    def test_nothing_is_current_before_the_first_switch(self) -> None:
        driver = self.driver()
        driver.place(FIRST, self.files(app="one"))
        assert driver.current() == ""
        assert driver.capture() == ()
        assert [d.kind for d in driver.drift(self.files(app="one"))] == [DriftKind.MISSING]
        assert list(driver.drift(())) == []

    def test_switch_forth_and_back(self) -> None:
        driver = self.driver()
        one, two = self.files(app="one", sub__deep__x="same"), self.files(app="two")
        driver.place(FIRST, one)
        driver.place(SECOND, two)
        for release, files in ((FIRST, one), (SECOND, two), (FIRST, one), (FIRST, one)):
            driver.switch(release)
            assert driver.current() == release
            assert driver.drift(files) == ()
            assert driver.capture() == files

    def test_everything_may_be_repeated(self) -> None:
        one = self.files(app="one")
        paths = {self.driver().place(FIRST, one) for _ in range(3)}
        assert len(paths) == 1
        for _ in range(3):
            self.driver().switch(FIRST)
        assert self.driver().drift(one) == ()

    def test_switch_to_nothing(self) -> None:
        driver = self.driver()
        driver.place(FIRST, self.files(app="one"))
        driver.switch(FIRST)
        driver.switch("")
        driver.switch("")
        assert driver.current() == ""

    def test_a_release_that_was_never_placed_is_refused(self) -> None:
        driver = self.driver()
        driver.place(FIRST, self.files(app="one"))
        driver.switch(FIRST)
        assert isinstance(_raised(lambda: driver.switch(SECOND)), Rejected)
        assert driver.current() == FIRST

    def test_drift_names_missing_changed_and_unknown(self) -> None:
        driver = self.driver()
        files = self.files(a="1", b="2", sub__c="3")
        driver.place(FIRST, files)
        driver.switch(FIRST)
        self.edit("a", b"by hand")
        self.edit("b", None)
        self.edit("extra", b"what is this")
        kinds = {d.subject: d.kind for d in driver.drift(files)}
        assert kinds == {"a": DriftKind.CHANGED, "b": DriftKind.MISSING, "extra": DriftKind.UNKNOWN}

    def test_drift_sees_that_another_release_is_current(self) -> None:
        driver = self.driver()
        one, two = self.files(app="one"), self.files(app="two")
        driver.place(FIRST, one)
        driver.place(SECOND, two)
        driver.switch(SECOND)
        assert {d.subject for d in driver.drift(one)} == {"current", "app"}

    def test_placing_again_repairs_and_keeps_the_hand_edit(self) -> None:
        driver = self.driver()
        files = self.files(app="one", other="1")
        driver.place(FIRST, files)
        driver.switch(FIRST)
        self.edit("app", b"edited at night")
        driver.place(FIRST, files)
        assert driver.drift(files) == ()
        assert self.kept_aside(b"edited at night")

    def test_switch_repairs_too(self) -> None:
        driver = self.driver()
        files = self.files(app="one")
        driver.place(FIRST, files)
        driver.switch(FIRST)
        self.edit("app", None)
        driver.switch(FIRST)
        assert driver.drift(files) == ()

    def test_a_path_can_not_leave_the_release(self) -> None:
        driver = self.driver()
        content = self.objects().put(b"evil")
        for path in ("../evil", "/etc/evil", "a/../../evil", "", ".", "a//b", "a/./b"):
            assert isinstance(
                _raised(lambda p=path: driver.place(FIRST, (FileEntry(p, content),))), InvalidInput
            )

    def test_missing_content_is_an_error_and_nothing_is_switched(self) -> None:
        driver = self.driver()
        lost = (FileEntry("app", digest_bytes(b"never put")),)
        assert isinstance(_raised(lambda: driver.place(FIRST, lost)), LastgoodError)
        assert isinstance(_raised(lambda: driver.switch(FIRST)), Rejected)
        assert driver.current() == ""

    def test_the_fingerprint_is_that_of_the_content(self) -> None:
        driver = self.driver()
        one, two = self.files(app="one"), self.files(app="two")
        seen = [_observer(driver).observe().fingerprint]
        for release, files in ((FIRST, one), (SECOND, two), (FIRST, one)):
            driver.place(release, files)
            driver.switch(release)
            seen.append(_observer(driver).observe().fingerprint)
        assert seen[1] == seen[3]
        assert len(set(seen)) == 3
        self.edit("app", b"by hand")
        assert _observer(driver).observe().fingerprint not in seen
        assert _observer(driver).observe().facts["files"] == 1

    def test_capture_then_place_gives_the_same_state(self) -> None:
        driver = self.driver()
        driver.place(FIRST, self.files(a="1", sub__b="2"))
        driver.switch(FIRST)
        self.edit("a", b"by hand")
        before = _observer(driver).observe().fingerprint
        captured: Sequence[FileEntry] = driver.capture()
        driver.place(SECOND, captured)
        driver.switch(SECOND)
        assert _observer(driver).observe().fingerprint == before


def _raised(call: object) -> LastgoodError | None:
    assert callable(call)
    try:
        call()
    except LastgoodError as error:
        return error
    return None


def _observer(driver: object) -> Observes:
    assert isinstance(driver, Observes)
    return driver
