"""What is known of images that are kept, and how they are proven and mended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from lastgood.actions import status
from lastgood.actions.abilities import generation_of, registry_of
from lastgood.actions.prove import prove
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.secrets import secrets_of_service
from lastgood.actions.status import unit_statuses
from lastgood.domain.errors import InvalidInput
from lastgood.domain.image import Image
from lastgood.domain.proof import ImageProof
from lastgood.domain.release import Release, SecretVersion
from lastgood.domain.unit import Target, UnitId
from tests.actions.imagery import (
    ENGINE,
    image_of,
    lose_archive,
    lose_engine,
    on_two,
    registry_is_down,
)
from tests.actions.theatre import OTHER, UNIT, Theatre


def way_back(theatre: Theatre) -> status.WayBack:
    (seen,) = unit_statuses(theatre.context, True, UNIT)
    assert seen.way_back is not None
    return seen.way_back


def test_status_says_what_is_missing_before_anybody_needs_it(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    assert way_back(theatre).missing == 0
    lose_archive(theatre, image_of(one))
    assert way_back(theatre).missing == 2


def test_status_asks_the_engine_for_what_it_alone_keeps(theatre: Theatre) -> None:
    on_two(theatre, keep=ENGINE)
    assert (way_back(theatre).missing, way_back(theatre).unseen) == (0, None)
    lose_engine(theatre)
    assert way_back(theatre).missing == 1
    theatre.cache.down = True
    assert way_back(theatre).missing == 0
    assert str(way_back(theatre).unseen) == "the engine does not answer"


def test_status_does_not_ask_an_engine_for_what_is_kept_here(theatre: Theatre) -> None:
    on_two(theatre)
    theatre.cache.down = True
    assert (way_back(theatre).missing, way_back(theatre).unseen) == (0, None)


def test_an_image_that_units_share_is_read_once(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    image = theatre.image("1")
    for unit in (UNIT, OTHER):
        theatre.stand(theatre.release("one", unit, image=image))
        theatre.stand(theatre.release("two", unit, image=theatre.image("2")))
    read: list[Image] = []
    missing = type(theatre.images).missing

    def counted(self: Any, image: Image, **how: Any) -> tuple[str, ...]:
        read.append(image)
        return missing(self, image, **how)

    monkeypatch.setattr(type(theatre.images), "missing", counted)
    assert [s.way_back.missing for s in unit_statuses(theatre.context, True) if s.way_back] == [0, 0]
    assert read == [image]


# -- proven and mended


def proof_of(theatre: Theatre, release: Release) -> ImageProof:
    proof = prove(theatre.context, UNIT)
    (found,) = [i for i in proof.images if i.digest == image_of(release).digest]
    assert proof.good == (not any(i.errors for i in proof.images) and not proof.missing)
    return found


def test_a_proof_reads_both_images_and_holds_them(theatre: Theatre) -> None:
    one, two = on_two(theatre)
    lose_engine(theatre)
    proof = prove(theatre.context, UNIT)
    assert proof.good
    assert [(i.digest, i.kept, i.held, i.lacked) for i in proof.images] == [
        (image_of(one).digest, True, True, 0), (image_of(two).digest, True, True, 0),
    ]  # fmt: skip
    assert theatre.runtime.has(image_of(one))


def test_a_proof_fetches_again_what_is_missing(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    lose_archive(theatre, image_of(one))
    lose_engine(theatre)
    theatre.push("1", "moved since")
    found = proof_of(theatre, one)
    assert (found.kept, found.held, found.lacked, found.errors) == (True, True, 2, ())
    assert found.fetched > 0
    assert way_back(theatre).missing == 0
    assert proof_of(theatre, one).fetched == 0


def rot(theatre: Theatre, digest: str) -> None:
    """Bits change under the file system, which then knows of no change."""
    path = theatre.directory / "images/blobs/sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[::-1])
    seen = path.stat()
    mark = theatre.directory / "images/read/sha256" / path.name
    mark.write_text(f"[{seen.st_ino}, {seen.st_size}, {seen.st_ctime_ns}]")


def test_a_proof_finds_and_mends_what_rotted(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    rot(theatre, image_of(one).config)
    assert way_back(theatre).missing == 0, "a status does not read everything"
    found = proof_of(theatre, one)
    assert (found.kept, found.lacked, found.errors) == (True, 1, ())
    assert theatre.images.missing(image_of(one), read=True) == ()


def test_a_proof_says_what_it_could_not_mend(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    lose_archive(theatre, image_of(one))
    registry_is_down(theatre)
    found = proof_of(theatre, one)
    assert (found.kept, found.held) == (False, True)
    assert ["does not answer" in str(error) for error in found.errors] == [True]
    theatre.cache.down = True
    found = proof_of(theatre, one)
    assert (found.kept, found.held, len(found.errors)) == (False, False, 2)
    with theatre.store.read() as unit:
        noted = unit.audit.list(str(UNIT))[0].data["images"][image_of(one).digest]
    assert len(noted) == 2


def test_of_what_is_left_to_the_engine_a_proof_asks_no_archive(theatre: Theatre) -> None:
    one, _ = on_two(theatre, keep=ENGINE)
    found = proof_of(theatre, one)
    assert (found.kept, found.held, found.lacked, found.errors) == (False, True, 0, ())


@dataclass
class Recorded:
    """Drivers that note with which settings each was asked for."""

    theatre: Theatre
    asked: list[Target]

    def get(self, unit: UnitId, target: Target) -> object:
        self.asked.append(target)
        return self.theatre.drivers.get(unit, target)


def with_login(version: str) -> dict[str, Any]:
    login = {"username": "ci", "password": {"secret": "LOGIN"}}
    return {
        "registry": Target("registry", {"hosts": {"registry.example.com": login}}),
        "secrets": (SecretVersion("LOGIN", version), SecretVersion("TOKEN", "7")),
    }


def passwords(recorded: Recorded) -> list[str]:
    hosts = [t.settings["hosts"] for t in recorded.asked if t.driver == "registry"]
    return [h["registry.example.com"]["password"]["version"] for h in hosts]


def test_the_login_is_that_of_the_release_and_the_service_does_not_get_it(theatre: Theatre) -> None:
    release = theatre.release("one", image=theatre.push("1"), **with_login("3"))
    recorded = Recorded(theatre, [])
    registry_of(recorded, release)
    assert passwords(recorded) == ["3"]
    assert release.registry == with_login("3")["registry"], "the release itself has no version in there"
    assert secrets_of_service(release) == (SecretVersion("TOKEN", "7"),)
    assert generation_of(theatre.drivers, release).secrets == (SecretVersion("TOKEN", "7"),)


def test_a_proof_logs_in_as_the_newest_release_does(theatre: Theatre) -> None:
    vault = theatre.context.vault
    versions = [vault.seal("LOGIN", value).version for value in ("old", "new")]
    releases = []
    for name, version in zip(("one", "two"), versions, strict=True):
        secrets = (SecretVersion("LOGIN", version),)
        release = theatre.release(
            name, image=theatre.image(name), **{**with_login(version), "secrets": secrets}
        )
        releases.append(theatre.stand(release))
    lose_archive(theatre, image_of(releases[0]))
    recorded = Recorded(theatre, [])
    proof = prove(replace(theatre.context, drivers=recorded), UNIT)
    assert proof.good
    assert set(passwords(recorded)) == {versions[1]}


def test_going_back_needs_no_login(theatre: Theatre) -> None:
    """Its sealed copy may be gone: it is not among what has to be whole."""
    release = theatre.release("one", image=theatre.image("1"), **with_login("never sealed"))
    theatre.stand(replace(release, secrets=(SecretVersion("LOGIN", "never sealed"),)))
    theatre.stand(theatre.release("two", image=theatre.image("2")))
    assert way_back(theatre).missing == 0
    plan_way_back(theatre.context, UNIT)


def test_an_image_without_a_registry_is_told_so(theatre: Theatre) -> None:
    with pytest.raises(InvalidInput, match="no registry that knows it"):
        registry_of(theatre.drivers, theatre.release("one", image=theatre.push("1"), registry=None))


def test_a_driver_that_is_no_registry_is_told_so(theatre: Theatre) -> None:
    with pytest.raises(InvalidInput, match="ResolvesImages"):
        registry_of(theatre.drivers, theatre.release("one", registry=Target("files")))
