"""Content by digest: there whole and true, or said to be missing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Cause, DriverError, InvalidInput
from lastgood.store.objects import FileObjects
from tests.store.disk import fill, small_disk
from tests.store.stranger import let_through, run_as_stranger


@pytest.fixture
def objects(tmp_path: Path) -> FileObjects:
    return FileObjects(tmp_path / "objects")


def path_of(tmp_path: Path, digest: str) -> Path:
    hexadecimal = digest.removeprefix("sha256:")
    return tmp_path / "objects" / hexadecimal[:2] / hexadecimal[2:]


@given(content=st.binary(max_size=200))
def test_what_is_put_comes_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    objects = FileObjects(tmp_path_factory.mktemp("o"))
    digest = objects.put(content)
    assert digest == digest_bytes(content)
    assert objects.put(content) == digest
    assert objects.get(digest) == content
    assert objects.has(digest)


def test_only_the_content_is_left_and_only_we_can_read_it(tmp_path: Path, objects: FileObjects) -> None:
    digest = objects.put(b"content")
    files = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert files == [path_of(tmp_path, digest)]
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert files[0].parent.stat().st_mode & 0o777 == 0o700


def test_missing_content_is_named(objects: FileObjects) -> None:
    there, gone = objects.put(b"there"), digest_bytes(b"gone")
    assert not objects.has(gone)
    assert objects.missing([gone, there, gone]) == (gone,)
    with pytest.raises(DriverError, match=gone) as caught:
        objects.get(gone)
    assert caught.value.cause is Cause.WRONG_PATH
    assert caught.value.todo


@pytest.mark.parametrize("damage", [b"", b"contenT", b"content and more"])
def test_damaged_content_is_never_handed_out_and_putting_it_again_mends_it(
    tmp_path: Path, objects: FileObjects, damage: bytes
) -> None:
    digest = objects.put(b"content")
    path_of(tmp_path, digest).write_bytes(damage)
    assert not objects.has(digest)
    assert objects.missing([digest]) == (digest,)
    with pytest.raises(DriverError, match="damaged") as caught:
        objects.get(digest)
    assert caught.value.cause is Cause.WRONG_PATH
    assert path_of(tmp_path, digest).read_bytes() == damage  # reading changes nothing
    objects.put(b"content")
    assert objects.get(digest) == b"content"


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, "A" * 64])
def test_what_is_no_digest_leads_nowhere(objects: FileObjects, name: str) -> None:
    assert not objects.has(name)
    assert objects.missing([name]) == (name,)
    with pytest.raises(InvalidInput):
        objects.get(name)


def test_many_at_once_put_one_content(tmp_path: Path, objects: FileObjects) -> None:
    content = b"x" * 100_000
    threads = [threading.Thread(target=objects.put, args=(content,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert objects.get(digest_bytes(content)) == content
    assert len([path for path in (tmp_path / "objects").rglob("*") if path.is_file()]) == 1


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        objects = FileObjects(disk / "objects")
        kept = objects.put(b"kept")
        ballast = fill(disk)
        with pytest.raises(DriverError, match="disk full") as caught:
            objects.put(b"y" * 50_000)
        assert str(disk) in str(caught.value)
        assert "df -h" in str(caught.value.todo)
        assert objects.get(kept) == b"kept"
        assert not list((disk / "objects").rglob("*.tmp"))
        ballast.unlink()
        assert objects.has(objects.put(b"y" * 50_000))


KILLED = """
import os, sys
from pathlib import Path
from lastgood.store import files
from lastgood.store.objects import FileObjects
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)  # dies with the bytes written and not yet named
FileObjects(Path(sys.argv[1])).put(b"content")
"""


def test_a_process_that_dies_while_writing_leaves_no_half_content(tmp_path: Path) -> None:
    objects = FileObjects(tmp_path / "objects")
    (tmp_path / "objects" / digest_bytes(b"content")[7:9]).mkdir(parents=True)
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "objects")], check=False)
    assert died.returncode == -9
    assert not objects.has(digest_bytes(b"content"))
    assert objects.has(objects.put(b"content"))


UNREADABLE = """
from lastgood.store.objects import FileObjects
objects = FileObjects(Path(sys.argv[1]))
for act in (lambda: objects.get(sys.argv[2]), lambda: objects.put(b"new")):
    try:
        act()
    except DriverError as error:
        assert error.cause is Cause.PERMISSION, error
        assert error.todo
    else:
        raise SystemExit("it was permitted")
"""


def test_a_stranger_is_told_that_it_is_not_permitted(tmp_path: Path, objects: FileObjects) -> None:
    digest = objects.put(b"content")
    let_through(tmp_path)
    (tmp_path / "objects").chmod(0)
    run_as_stranger(UNREADABLE, str(tmp_path / "objects"), digest)
    (tmp_path / "objects").chmod(0o700)
