"""What every driver of a registry must keep; subclass it and give the fixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from lastgood.domain.errors import Rejected, Unreachable
from lastgood.domain.image import Image, ImageReference
from lastgood.ports.content import ImageArchive
from lastgood.ports.images import ResolvesImages
from lastgood.testing.images import DOCKER, OCI, ImageBuild


class Push(Protocol):
    def __call__(self, name: str, *builds: ImageBuild, index: bool = False) -> Image:
        """As ``testing.images.push`` does."""


@dataclass(frozen=True)
class Subject:
    """``address`` is host:port; ``build`` makes another driver for linux/amd64 beside ``archive``."""

    address: str
    build: Callable[[], ResolvesImages]
    archive: ImageArchive
    push: Push
    stop: Callable[[], None]
    start: Callable[[], None]

    def reference(self, name: str) -> ImageReference:
        return ImageReference.parse(f"{self.address}/{name}")


def small(text: bytes, **fields: object) -> ImageBuild:
    return ImageBuild(["/x"], files={"/x": (text, 0o755)}, busybox=False, **fields)  # type: ignore[arg-type]


class ResolvesConformance:
    """The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    def test_it_says_that_it_resolves_images(self, subject: Subject) -> None:
        assert isinstance(subject.build(), ResolvesImages)

    @pytest.mark.parametrize("media", [OCI, DOCKER], ids=["oci", "docker"])
    def test_a_tag_is_what_was_pushed_last(self, subject: Subject, media: dict[str, str]) -> None:
        driver = subject.build()
        first = subject.push("shop/web:1.4", small(b"one", media=media))
        assert driver.resolve(subject.reference("shop/web:1.4")) == first
        second = subject.push("shop/web:1.4", small(b"two", media=media))
        assert driver.resolve(subject.reference("shop/web:1.4")) == second
        assert first.digest != second.digest

    @pytest.mark.parametrize("media", [OCI, DOCKER], ids=["oci", "docker"])
    def test_of_an_index_it_takes_its_own_platform(self, subject: Subject, media: dict[str, str]) -> None:
        builds = [small(b"one", media=media, architecture=name) for name in ("amd64", "arm64")]
        pushed = subject.push("shop/web:1.4", *builds)
        assert subject.build().resolve(subject.reference("shop/web:1.4")) == pushed
        assert pushed.digest != pushed.manifest

    def test_another_platform_is_refused_by_name(self, subject: Subject) -> None:
        for index in (False, True):
            subject.push("shop/web:1.4", small(b"one", architecture="arm64"), index=index)
            with pytest.raises(Rejected, match=r"shop/web:1\.4 is not there for linux/amd64.*linux/arm64"):
                subject.build().resolve(subject.reference("shop/web:1.4"))

    def test_a_digest_is_itself_whatever_became_of_the_tag(self, subject: Subject) -> None:
        pushed = subject.push("shop/web:1.4", small(b"one"))
        subject.push("shop/web:1.4", small(b"two"))
        for name in (f"shop/web@{pushed.digest}", f"shop/web:1.4@{pushed.digest}"):
            found = subject.build().resolve(subject.reference(name))
            assert (found.digest, found.config, found.tag) == (pushed.digest, pushed.config, "")

    @pytest.mark.parametrize("name", ["shop/web:2.0", "shop/other:1.4", "shop/web@sha256:" + "0" * 64])
    def test_what_is_not_there_is_named(self, subject: Subject, name: str) -> None:
        subject.push("shop/web:1.4", small(b"one"))
        with pytest.raises(Rejected, match=name) as caught:
            subject.build().resolve(subject.reference(name))
        assert subject.address in str(caught.value)
        assert caught.value.todo

    def test_all_of_an_image_is_fetched_once(self, subject: Subject) -> None:
        image = subject.push("shop/web:1.4", small(b"one"), small(b"one", architecture="arm64"))
        assert subject.build().fetch(image, subject.archive) == subject.archive.size(image) > 0
        assert subject.archive.missing(image, read=True) == ()
        assert subject.archive.images() == (image,)
        assert subject.build().fetch(image, subject.archive) == 0

    def test_what_images_share_is_fetched_once(self, subject: Subject) -> None:
        first = subject.push("shop/web:1.4", small(b"one", random_bytes=50_000))
        second = subject.push("shop/web:1.5", small(b"two", random_bytes=50_000))
        assert subject.build().fetch(first, subject.archive) > 50_000
        assert 0 < subject.build().fetch(second, subject.archive) < 5_000
        assert set(subject.archive.images()) == {first, second}

    def test_the_image_is_fetched_and_not_what_its_tag_names_now(self, subject: Subject) -> None:
        image = subject.push("shop/web:1.4", small(b"one"))
        subject.push("shop/web:1.4", small(b"two"))
        subject.build().fetch(image, subject.archive)
        assert subject.archive.missing(image, read=True) == ()

    def test_what_is_kept_needs_no_registry(self, subject: Subject) -> None:
        image = subject.push("shop/web:1.4", small(b"one"))
        subject.build().fetch(image, subject.archive)
        subject.stop()
        assert subject.build().fetch(image, subject.archive) == 0
        found = subject.build().resolve(subject.reference(f"shop/web@{image.digest}"))
        assert (found.digest, found.manifest, found.config) == (image.digest, image.manifest, image.config)

    def test_a_registry_that_is_down_can_be_tried_again(self, subject: Subject) -> None:
        image = subject.push("shop/web:1.4", small(b"one"))
        subject.stop()
        for act in (
            lambda: subject.build().resolve(subject.reference("shop/web:1.4")),
            lambda: subject.build().fetch(image, subject.archive),
        ):
            with pytest.raises(Unreachable, match=subject.address) as caught:
                act()
            assert caught.value.todo
        assert subject.archive.images() == ()
        subject.start()
        assert subject.build().fetch(image, subject.archive) > 0
