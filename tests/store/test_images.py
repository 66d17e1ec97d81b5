"""Images as files of our own: whole under their digest, or said to be missing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.image import Image
from lastgood.store.images import FileImages
from lastgood.testing.images import DOCKER, ImageBuild, keep
from tests.store.disk import fill, small_disk

NAME = "registry.test:5000/shop/web:1.4"


def build(text: bytes = b"one", **fields: object) -> ImageBuild:
    """Two layers: one that all share, and one of its own."""
    return ImageBuild(
        ["/bin/sh"], files={"/text": (text, 0o644)}, random_bytes=20_000, busybox=False, **fields
    )  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def images(directory: Path) -> FileImages:
    return FileImages(directory)


def blob(directory: Path, digest: str) -> Path:
    return directory / "blobs" / "sha256" / digest.removeprefix("sha256:")


def layers(directory: Path, image: Image) -> list[str]:
    return [layer["digest"] for layer in json.loads(blob(directory, image.manifest).read_bytes())["layers"]]


def test_an_image_is_there_when_all_its_blobs_are(directory: Path, images: FileImages) -> None:
    image = keep(images, NAME, build())
    assert images.images() == (image,)
    assert images.missing(image) == ()
    files = [path for path in (directory / "blobs").rglob("*") if path.is_file()]
    assert images.size(image) == sum(path.stat().st_size for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 4


def test_what_is_not_there_is_named(images: FileImages, directory: Path) -> None:
    made = build().built()
    image = made.image("registry.test/shop/web", "1.4")
    assert images.missing(image) == (image.manifest, image.config)
    assert images.size(image) == 0
    with pytest.raises(Rejected, match=image.manifest):
        images.add(image)
    images.put_blob(made.digest, [made.manifest])
    assert set(images.missing(image)) == set(made.blobs)
    with pytest.raises(Rejected, match=r"1\.4 is not whole here"):
        images.add(image)
    assert images.images() == ()


def test_an_oci_tool_finds_what_it_looks_for(directory: Path, images: FileImages) -> None:
    image = keep(images, NAME, build(media=DOCKER))
    assert json.loads((directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((directory / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == image.manifest
    assert entry["mediaType"] == DOCKER["manifest"]
    assert entry["size"] == blob(directory, image.manifest).stat().st_size
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == NAME


def test_other_bytes_are_refused_and_leave_nothing(directory: Path, images: FileImages) -> None:
    digest = digest_bytes(b"content")
    for wrong in (b"contenT", b"", b"content and more"):
        with pytest.raises(Rejected, match=digest_bytes(wrong)):
            images.put_blob(digest, [wrong])
    assert not images.has_blob(digest)
    assert list((directory / "blobs" / "sha256").iterdir()) == []


def test_a_transfer_that_breaks_leaves_nothing(directory: Path, images: FileImages) -> None:
    def broken() -> Iterator[bytes]:
        yield b"con"
        raise ConnectionResetError("cut")

    with pytest.raises(ConnectionResetError):  # not taken for something about our disk
        images.put_blob(digest_bytes(b"content"), broken())
    assert list((directory / "blobs" / "sha256").iterdir()) == []


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64])
def test_what_is_no_digest_leads_nowhere(images: FileImages, name: str) -> None:
    for act in (images.has_blob, images.open_blob, lambda d: images.put_blob(d, [b""])):
        with pytest.raises(InvalidInput, match="is not a digest"):
            act(name)


def damage(path: Path) -> None:
    """Other bytes, the same size, and the times as they were."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=times)


@pytest.mark.parametrize("hurt", [damage, Path.unlink, lambda path: os.truncate(path, 10)])
def test_damage_is_seen_at_once_and_mended_by_the_good_blob(
    directory: Path, images: FileImages, hurt: Callable[[Path], None]
) -> None:
    image = keep(images, NAME, build())
    for digest in (image.config, *layers(directory, image)):
        path = blob(directory, digest)
        good = path.read_bytes()
        hurt(path)
        assert FileImages(directory).missing(image) == (digest,)
        with pytest.raises(DriverError, match=digest) as caught:
            images.export(image, io.BytesIO())
        assert caught.value.cause is Cause.WRONG_PATH
        images.put_blob(digest, [good])
        assert images.missing(image, read=True) == ()


def test_a_damaged_manifest_is_missing_and_nothing_is_made_up(directory: Path, images: FileImages) -> None:
    image = keep(images, NAME, build())
    damage(blob(directory, image.manifest))
    assert image.manifest in images.missing(image)
    with pytest.raises(Rejected):
        images.add(image)


def test_what_was_read_is_not_read_again_until_it_changes(directory: Path, images: FileImages) -> None:
    """Rot under the file system changes no inode: only ``read`` sees it, as ``prove`` does."""
    image = keep(images, NAME, build())
    layer = blob(directory, layers(directory, image)[0])
    mark = directory / "read" / "sha256" / layer.name
    damage(layer)
    seen = layer.stat()
    mark.write_text(json.dumps([seen.st_ino, seen.st_size, seen.st_ctime_ns]))
    digest = f"sha256:{layer.name}"
    assert images.missing(image) == ()
    assert images.missing(image, read=True) == (digest,)
    assert images.missing(image) == (digest,)  # what was read as bad is not taken for good by its mark


def test_without_marks_everything_is_read_and_marked(directory: Path, images: FileImages) -> None:
    image = keep(images, NAME, build())
    marks = directory / "read" / "sha256"
    for mark in marks.iterdir():
        mark.write_text("no mark")
    assert images.missing(image) == ()
    assert all(json.loads(mark.read_text()) for mark in marks.iterdir())


def test_a_blob_of_another_size_is_not_handed_out(directory: Path, images: FileImages) -> None:
    image = keep(images, NAME, build())
    with images.open_blob(image.config) as file:
        assert digest_bytes(file.read()) == image.config
    os.truncate(blob(directory, image.config), 10)
    with pytest.raises(DriverError, match="not kept here whole"):
        images.open_blob(image.config)


def test_the_export_is_what_docker_saves_and_an_oci_layout(images: FileImages) -> None:
    image = keep(images, NAME, build())
    written = io.BytesIO()
    images.export(image, written)
    again = io.BytesIO()
    images.export(image, again)
    assert written.getvalue() == again.getvalue()
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        files = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    (saved,) = json.loads(files["manifest.json"])
    assert f"sha256:{saved['Config'].rpartition('/')[2]}" == image.config
    diffs = json.loads(files[saved["Config"]])["rootfs"]["diff_ids"]
    assert [digest_bytes(_unpacked(files[layer])) for layer in saved["Layers"]] == diffs
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"])
    assert manifest["config"]["digest"] == image.config
    assert json.loads(files["oci-layout"])["imageLayoutVersion"] == "1.0.0"


def _unpacked(layer: bytes) -> bytes:
    return subprocess.run(["gzip", "-dc"], input=layer, check=True, capture_output=True).stdout


def test_removing_keeps_what_others_need(directory: Path, images: FileImages) -> None:
    one, two = keep(images, NAME, build()), keep(images, NAME, build(b"two"))
    shared = set(layers(directory, one)) & set(layers(directory, two))
    assert len(shared) == 1
    own = layers(directory, one)[-1]
    images.remove(one)
    images.remove(one)
    assert images.images() == (two,)
    assert images.missing(two, read=True) == ()
    assert not any(images.has_blob(d) for d in (one.manifest, one.config, own))
    images.remove(two)
    left = [path for path in directory.rglob("*") if path.is_file() and path.parent.name == "sha256"]
    assert left == []


def test_removing_keeps_what_an_index_forgot_or_somebody_is_bringing(
    directory: Path, images: FileImages
) -> None:
    one, forgotten = keep(images, NAME, build()), keep(images, NAME, build(b"two"))
    (directory / "index.json").write_text("{not json")
    assert images.images() == ()
    images.remove(one)
    assert images.missing(forgotten, read=True) == ()
    images.add(forgotten)
    assert images.images() == (forgotten,)


def test_an_image_that_lost_its_manifest_is_in_nobodys_way(directory: Path, images: FileImages) -> None:
    lost = keep(images, NAME, build())
    blob(directory, lost.manifest).unlink()
    added = keep(images, NAME, build(b"two"))
    assert set(images.images()) == {lost, added}
    images.remove(added)
    images.remove(lost)
    assert images.images() == ()


def test_many_at_once_put_one_blob(directory: Path, images: FileImages) -> None:
    content = b"x" * 300_000
    digest = digest_bytes(content)
    pieces = [content[i : i + 1000] for i in range(0, len(content), 1000)]
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(images.put_blob(digest, iter(pieces)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [len(content)] * 8
    assert [path.name for path in blob(directory, digest).parent.iterdir()] == [digest[7:]]


def test_many_at_once_add_and_none_is_lost(directory: Path) -> None:
    added: list[Image] = []
    threads = [
        threading.Thread(target=lambda n=n: added.append(keep(FileImages(directory), NAME, build(b"%d" % n))))  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(FileImages(directory).images()) == set(added)
    assert len(added) == 8


KILLED = """
import os, sys
from pathlib import Path
from lastgood.store.images import FileImages
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)  # dies with the bytes written and not yet named
FileImages(Path(sys.argv[1])).put_blob(sys.argv[2], [b"content"])
"""


def test_a_process_that_dies_while_writing_leaves_no_half_blob(directory: Path, images: FileImages) -> None:
    images.put_blob(digest_bytes(b"other"), [b"other"])
    digest = digest_bytes(b"content")
    died = subprocess.run([sys.executable, "-c", KILLED, str(directory), digest], check=False)
    assert died.returncode == -9
    assert not images.has_blob(digest)
    (left,) = (directory / "blobs" / "sha256").glob(".new-*")
    keep(images, NAME, build())
    assert left.exists()  # it could be that of somebody who is at work
    os.utime(left, (0, 0))
    keep(images, NAME, build(b"two"))
    assert not left.exists()
    images.put_blob(digest, [b"content"])
    assert images.has_blob(digest)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        images = FileImages(disk / "images")
        kept = keep(images, NAME, build())
        ballast = fill(disk)
        content = b"y" * 50_000
        with pytest.raises(DriverError, match="disk full") as caught:
            images.put_blob(digest_bytes(content), [content])
        assert "df -h" in str(caught.value.todo)
        with pytest.raises(DriverError, match="disk full"):
            images.add(kept)
        assert images.missing(kept, read=True) == ()
        assert images.images() == (kept,)
        assert not list((disk / "images").rglob(".new-*"))
        ballast.unlink()
        images.put_blob(digest_bytes(content), [content])
        images.add(kept)
