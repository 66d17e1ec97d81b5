"""What registries and the way to them do wrong, with a real one behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.image import Image, ImageReference
from lastgood.drivers.registry.platforms import Platform, best
from lastgood.testing.registry_server import RegistryServer
from tests.drivers.registry.conftest import Lab, lab_of, small
from tests.drivers.registry.proxy import Answer, Proxy, proxy
from tests.store.disk import fill, small_disk

LAYER = 3_000_000


@pytest.fixture
def through(open_server: RegistryServer) -> Iterator[Proxy]:
    with proxy(open_server.address) as running:
        yield running


@pytest.fixture
def behind(open_server: RegistryServer, through: Proxy, tmp_path: Path) -> Lab:
    return lab_of(open_server, tmp_path, through.address)


def layers(lab: Lab, image: Image) -> list[str]:
    manifest = json.loads(lab.server.blob(image.manifest).read_bytes())
    return [layer["digest"] for layer in manifest["layers"]]


def test_cut_off_in_the_middle_of_a_layer_the_whole_ones_are_kept(behind: Lab, through: Proxy) -> None:
    image = behind.push(small(random_bytes=LAYER))
    big, tiny = layers(behind, image)
    through.rules = [(big, Answer(cut_after=LAYER // 2))]
    with pytest.raises(OutcomeUnknown, match="cut off in the middle") as caught:
        behind.driver().fetch(image, behind.archive)
    assert caught.value.cause is Cause.DEPENDENCY_DOWN
    assert f"after {LAYER // 2} bytes" in str(caught.value)
    assert behind.archive.images() == ()
    assert not behind.archive.has_blob(big)
    left = {path.name for path in (behind.tools.directory / "images/blobs/sha256").iterdir()}
    assert left <= {digest.removeprefix("sha256:") for digest in (image.manifest, image.config, tiny)}
    through.rules.clear()
    before = len(through.seen)
    assert behind.driver().fetch(image, behind.archive) >= LAYER
    assert behind.archive.missing(image, read=True) == ()
    again = through.paths()[before:]
    assert not [path for path in again if path.rpartition("/")[2].removeprefix("sha256:") in left]


def test_an_end_without_a_length_is_no_end(behind: Lab, through: Proxy) -> None:
    """A connection that is closed can end an answer in HTTP: that it was all is not said by that."""
    image = behind.push(small(random_bytes=LAYER))
    big = layers(behind, image)[0]
    through.rules = [(big, Answer(cut_after=LAYER // 2, headers={"Content-Length": str(LAYER // 2)}))]
    with pytest.raises(OutcomeUnknown, match="bytes were expected"):
        behind.driver().fetch(image, behind.archive)
    assert not behind.archive.has_blob(big)


def test_a_registry_that_dies_can_be_tried_again(open_server: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(open_server, tmp_path)
    image = lab.push(small())
    driver = lab.driver()
    driver.resolve(lab.reference())
    open_server.kill()
    try:
        with pytest.raises(Unreachable) as caught:
            driver.fetch(image, lab.archive)
    finally:
        open_server.start()
    assert caught.value.cause is Cause.DEPENDENCY_DOWN
    assert driver.fetch(image, lab.archive) > 0


def test_a_name_that_nobody_knows_can_be_tried_again(lab: Lab) -> None:
    with pytest.raises(Unreachable, match=r"registry\.invalid"):
        lab.driver().resolve(ImageReference.parse("registry.invalid/shop/web:1.4"))


def test_silence_ends(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        lab.address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(Unreachable, match="does not answer: timed out"):
            lab.driver(timeout=0.2).resolve(lab.reference())


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_passes_can_be_tried_again(behind: Lab, through: Proxy, status: int) -> None:
    image = behind.push(small())
    said = json.dumps({"errors": [{"code": "X", "message": "come back later"}]}).encode()
    through.rules = [("/v2/", Answer(status, {"Retry-After": "17"}, said))]
    for act in (
        lambda: behind.driver().resolve(behind.reference()),
        lambda: behind.driver().fetch(image, behind.archive),
    ):
        with pytest.raises(Unreachable, match="come back later") as caught:
            act()
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert status != 429 or "17 s" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(403, Cause.PERMISSION), (404, Cause.WRONG_PATH), (410, Cause.WRONG_PATH), (400, None)],
)
def test_what_stays_is_final(behind: Lab, through: Proxy, status: int, cause: Cause | None) -> None:
    behind.push(small())
    through.rules = [("manifests", Answer(status))]
    with pytest.raises(Rejected, match=behind.name) as caught:
        behind.driver().resolve(behind.reference())
    assert caught.value.cause is cause


def test_a_layer_that_the_registry_lost_is_named(behind: Lab, through: Proxy) -> None:
    image = behind.push(small())
    through.rules = [(layers(behind, image)[0], Answer(404))]
    with pytest.raises(Rejected, match=f"{behind.name}:1.4"):
        behind.driver().fetch(image, behind.archive)
    assert behind.archive.images() == ()


def test_other_bytes_than_the_digest_names_are_refused(behind: Lab, through: Proxy) -> None:
    image = behind.push(small())
    for part in ("manifests/1.4", f"blobs/{image.config}"):
        through.rules = [(part, Answer(flip=True))]
        with pytest.raises(Rejected, match=r"hands out|no JSON"):
            behind.driver().resolve(behind.reference())
    for part in (f"manifests/{image.manifest}", layers(behind, image)[0]):
        through.rules = [(part, Answer(flip=True))]
        with pytest.raises(Rejected):
            behind.driver().fetch(image, behind.archive)
    assert behind.archive.images() == ()


def test_a_digest_that_is_claimed_has_to_be_true(behind: Lab, through: Proxy) -> None:
    behind.push(small())
    through.rules = [("manifests/1.4", Answer(headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))]
    with pytest.raises(Rejected, match="sha256:0000"):
        behind.driver().resolve(behind.reference())


def test_more_bytes_than_the_manifest_says_are_not_taken(behind: Lab, through: Proxy) -> None:
    image = behind.push(small())
    layer = layers(behind, image)[0]
    through.rules = [(layer, Answer(200, body=b"x" * 10_000_000))]
    with pytest.raises(Rejected, match="more than"):
        behind.driver().fetch(image, behind.archive)


def test_a_manifest_without_end_is_not_read(behind: Lab, through: Proxy) -> None:
    through.rules = [("manifests", Answer(200, body=b" " * 9_000_000))]
    with pytest.raises(Rejected, match="more than"):
        behind.driver().resolve(behind.reference())


def index(*entries: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in</html>",
        b"[]",
        b"[" * 100_000,
        b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"schemaVersion": 2, "config": {"digest": "../../x", "size": 1}, "layers": []}',
        b'{"schemaVersion": 2, "config": {"digest": "sha256:%s", "size": -1}, "layers": []}' % (b"0" * 64),
        b'{"schemaVersion": 2, "config": "x"}',
        index(),
        index("x", {"platform": "x"}, {"platform": {"os": "linux", "architecture": "amd64"}}),
        index({"digest": "sha256:" + "0" * 64, "size": 1, "platform": {"os": "unknown"}}),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(behind: Lab, through: Proxy, body: bytes) -> None:
    through.rules = [("manifests", Answer(200, body=body))]
    with pytest.raises(Rejected, match=behind.name):
        behind.driver().resolve(behind.reference())


def test_what_registries_say_is_told_in_one_line_without_its_end(behind: Lab, through: Proxy) -> None:
    through.rules = [("manifests", Answer(400, body=b"\x1b[31mred\n" + b"x" * 100_000))]
    with pytest.raises(Rejected) as caught:
        behind.driver().resolve(behind.reference())
    told = str(caught.value)
    assert len(told) < 1000
    assert "\x1b" not in told
    assert "\n" not in told


def test_a_full_disk_is_the_disks_fault(behind: Lab, through: Proxy, tmp_path: Path) -> None:
    image = behind.push(small(random_bytes=500_000))
    with small_disk(tmp_path / "disk") as disk:
        behind.tools = type(behind.tools)(disk)
        (disk / "images").mkdir()
        ballast = fill(disk)
        with pytest.raises(DriverError, match="disk full"):
            behind.driver().fetch(image, behind.archive)
        ballast.unlink()
        assert behind.driver().fetch(image, behind.archive) > 500_000


def test_the_password_travels_neither_in_errors_nor_in_what_is_kept(
    basic_server: RegistryServer, tmp_path: Path
) -> None:
    lab = lab_of(basic_server, tmp_path)
    image = lab.push(small())
    lab.driver(hosts=lab.login()).fetch(image, lab.archive)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if lab.server.password.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64", "linux/amd64/v2"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v6", ["linux/arm"], None),
        ("linux/amd64", ["windows/amd64", "linux/386"], None),
        ("linux/amd64", [], None),
    ],
)
def test_the_best_that_runs_is_taken(wanted: str, offered: list[str], chosen: str | None) -> None:
    platforms = [Platform(*text.split("/")) for text in offered]
    found = best(Platform(*wanted.split("/")), platforms)
    assert (None if found is None else offered[found]) == chosen
