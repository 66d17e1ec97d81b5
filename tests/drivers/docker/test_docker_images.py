"""Where an image comes from, by which name an engine knows it, and what protects it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.image import Image
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.docker.images import Images
from lastgood.testing.conformance_runs import raised
from lastgood.testing.images import ImageBuild, keep, push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.drivers.docker.conftest import APP


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that is open to all."""
    with registry(tmp_path_factory.mktemp("open")) as made:
        yield made


def build(bench: Any, **more: Any) -> ImageBuild:
    return ImageBuild(files=APP, labels={"unit": str(bench.unit)}, **more)


def damage(bench: Any, image: Image) -> None:
    """In the archive, without a change of size."""
    manifest = json.loads(bench.tools.images.open_blob(image.manifest).read())
    digits = manifest["layers"][-1]["digest"].removeprefix("sha256:")
    blob = bench.tools.directory / "images" / "blobs" / "sha256" / digits
    blob.chmod(0o600)
    blob.write_bytes(b"\0" * blob.stat().st_size)


def refused(bench: Any, image: Image) -> Rejected:
    error = raised(lambda: bench.driver.hold(image))
    assert isinstance(error, Rejected)
    assert not bench.driver.has(image)
    return error


def test_it_is_pulled_by_digest_when_the_archive_lacks_it(bench: Any, shelf: RegistryServer) -> None:
    image = push(shelf, "shop/web:1.4", build(bench))
    push(shelf, "shop/web:1.4", build(bench, env={"MOVED": "1"}))
    bench.driver.hold(image)
    assert bench.driver.has(image)
    bench.up(bench.generation("g1", image=image))
    assert bench.inspect(bench.name("g1", Role.WEB))["Image"] == image.config


def test_of_an_index_it_is_the_platform_s(bench: Any, shelf: RegistryServer) -> None:
    amd, arm = build(bench), build(bench, architecture="arm64")
    image = push(shelf, "shop/many:1", amd, arm)
    assert image.digest != image.manifest
    bench.driver.hold(image)
    assert bench.driver.has(image)
    other = replace(image, manifest=arm.built().digest, config=arm.built().config)
    assert not bench.driver.has(other), "the index names it too, and the engine has the other one"


def test_the_archive_comes_first_and_needs_no_registry(bench: Any, shelf: RegistryServer) -> None:
    image = push(shelf, "shop/kept:1", build(bench))
    keep(bench.tools.images, str(image), build(bench))
    before = len(shelf.requests())
    bench.driver.hold(image)
    assert len(shelf.requests()) == before


def test_an_archive_that_is_not_whole_is_made_good_by_the_registry(bench: Any, shelf: RegistryServer) -> None:
    image = push(shelf, "shop/torn:1", build(bench))
    keep(bench.tools.images, str(image), build(bench))
    damage(bench, image)
    bench.driver.hold(image)
    assert bench.driver.has(image)


def test_neither_archive_nor_registry_says_both(bench: Any, shelf: RegistryServer) -> None:
    image = replace(
        bench.image("both", labels={"unit": str(bench.unit)}), repository=f"{shelf.address}/shop/none"
    )
    damage(bench, image)
    error = refused(bench, image)
    assert "is not there whole" in str(error)
    assert "manifest unknown" in str(error)


def test_an_image_that_the_registry_has_not(bench: Any, shelf: RegistryServer) -> None:
    nowhere = "sha256:" + "c" * 64
    image = Image(f"{shelf.address}/shop/web", nowhere, nowhere, "sha256:" + "d" * 64)
    error = refused(bench, image)
    assert error.cause is Cause.WRONG_PATH
    assert image.pinned in str(error)


def test_a_layer_that_the_registry_has_damaged(bench: Any, shelf: RegistryServer) -> None:
    image = push(shelf, "shop/damaged:1", build(bench, random_bytes=4096, seed=7))
    layer = json.loads(build(bench, random_bytes=4096, seed=7).built().manifest)["layers"][1]["digest"]
    blob = shelf.blob(layer)
    whole = blob.read_bytes()
    blob.write_bytes(whole[: len(whole) // 2] + b"\0" * (len(whole) - len(whole) // 2))
    refused(bench, image)
    blob.write_bytes(whole)
    bench.driver.hold(image)


def test_a_registry_that_wants_a_password(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry(tmp_path, auth="basic") as private:
        image = push(private, "shop/web:1", build(bench))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        error = refused(bench, image)
        assert error.cause is Cause.PERMISSION
        assert "docker login" in str(error.todo)
        both = base64.b64encode(f"{private.user}:{private.password}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {private.address: {"auth": both}}}))
        bench.driver.hold(image)
        assert bench.driver.has(image)


def test_what_holds_an_image_has_no_command_and_no_environment(bench: Any) -> None:
    image = bench.image("quiet", labels={"unit": str(bench.unit)})
    bench.driver.hold(image)
    held = bench.inspect(f"lastgood.hold.{bench.unit.slug}.{image.manifest.removeprefix('sha256:')[:12]}")
    assert held["State"]["Status"] == "created"
    assert held["Config"]["Env"] == ["PATH=/bin"]
    assert held["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert bench.driver.status() == ()


def test_a_foreign_container_with_the_name_of_a_holder_is_left_alone(bench: Any) -> None:
    image = bench.image("taken", labels={"unit": str(bench.unit)})
    name = f"lastgood.hold.{bench.unit.slug}.{image.manifest.removeprefix('sha256:')[:12]}"
    other = bench.image("other")
    bench.driver.hold(other)
    foreign = bench.engine.docker("create", "--name", name, other.config, "/app/worker")
    try:
        error = raised(lambda: bench.driver.hold(image))
        assert isinstance(error, Rejected)
        assert name in str(error)
        assert isinstance(raised(lambda: bench.driver.let_go(image)), Rejected)
        assert bench.inspect(name)["Id"] == foreign
    finally:
        bench.engine.docker("rm", foreign)


def test_two_that_hold_the_same_at_once(bench: Any) -> None:
    image = bench.image("shared", labels={"unit": str(bench.unit)})
    errors: list[object] = []
    drivers = [bench.driver for _ in range(3)]
    threads = [
        threading.Thread(target=lambda driver=driver: errors.append(raised(lambda: driver.hold(image))))
        for driver in drivers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None, None, None]
    assert bench.driver.has(image)


class Cache:
    """An engine's answers to what image a name is."""

    def __init__(self, **ids: str) -> None:
        self.ids = ids

    def inspect_image(self, name: str) -> dict[str, str] | None:
        return {"Id": self.ids[name]} if name in self.ids else None


def test_an_engine_with_a_containerd_store_knows_images_by_manifest() -> None:
    config, manifest, index = ("sha256:" + letter * 64 for letter in "abc")
    image = Image("registry.test/shop/web", index, manifest, config)

    def found(**ids: str) -> str:
        return Images(UnitId("shop", "prod", "us"), Cache(**ids), None).find(image)  # type: ignore[arg-type]

    assert found() == ""
    assert found(**{config: config}) == config
    assert found(**{manifest: manifest}) == manifest
    assert found(**{image.pinned: index}) == index
    assert found(**{image.pinned: "sha256:" + "f" * 64}) == "", "another platform's"
