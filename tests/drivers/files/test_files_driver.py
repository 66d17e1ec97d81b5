"""The files driver where things go wrong: crashes, full disks, hand edits, missing rights."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lastgood.domain.digest import digest, digest_bytes, short
from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.observation import DriftKind
from lastgood.domain.release import FileEntry
from lastgood.domain.unit import UnitId
from lastgood.drivers.files import tree
from lastgood.drivers.files.driver import FilesDriver, create, fingerprint
from lastgood.testing.fake_files import FakeTools

UNIT = UnitId("shop", "prod", "us")
ONE, TWO = digest_bytes(b"one"), digest_bytes(b"two")


class Desk:
    """One unit's files: the driver, its directory, and releases by text."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = FakeTools(root)
        self.place = root / UNIT.slug

    @property
    def driver(self) -> FilesDriver:
        made = create(UNIT, {"root": str(self.root)}, self.tools)
        assert isinstance(made, FilesDriver)
        return made

    def files(self, text: str, paths: tuple[str, ...] = ("app.yaml", "conf/deep/x")) -> tuple[FileEntry, ...]:
        return tuple(FileEntry(p, self.tools.objects.put(f"{p} {text}".encode())) for p in paths)

    def current(self, files: tuple[FileEntry, ...], release: str = ONE) -> tuple[FileEntry, ...]:
        self.driver.place(release, files)
        self.driver.switch(release)
        return files


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "config")


def test_modes_and_layout(desk: Desk) -> None:
    old = os.umask(0o077)
    try:
        plain = desk.files("1")
        secret = FileEntry("run.sh", desk.tools.objects.put(b"#!/bin/sh"), 0o750)
        place = desk.driver.place(ONE, (*plain, secret))
    finally:
        os.umask(old)
    assert place == desk.place / "releases" / short(ONE)
    assert oct((place / "run.sh").stat().st_mode & 0o7777) == "0o750"
    assert oct((place / "app.yaml").stat().st_mode & 0o7777) == "0o644"
    assert oct((place / "conf" / "deep").stat().st_mode & 0o7777) == "0o755"
    desk.driver.switch(ONE)
    assert str((desk.place / "current").readlink()) == f"releases/{short(ONE)}"
    assert desk.driver.observe().fingerprint == fingerprint((*plain, secret))


def test_switch_keeps_old_releases(desk: Desk) -> None:
    desk.current(desk.files("1"))
    desk.current(desk.files("2"), TWO)
    assert (desk.place / "releases" / short(ONE) / "app.yaml").read_text() == "app.yaml 1"


def test_a_half_written_directory_is_completed(desk: Desk) -> None:
    files = desk.files("1")
    half = desk.place / "releases" / short(ONE)
    half.mkdir(parents=True)
    (half / "app.yaml").write_text("app.yaml 1")
    (half / f"{tree.TEMPORARY}0000").write_text("conf/de")
    with pytest.raises(Rejected):
        desk.driver.switch(ONE)
    desk.current(files)
    assert desk.driver.drift(files) == ()
    assert not [p for p in desk.place.rglob("*") if p.name.startswith(tree.TEMPORARY)]
    assert not (desk.place / "aside").exists()


def test_a_wrong_mode_is_drift_and_is_mended(desk: Desk) -> None:
    files = desk.current(desk.files("1"))
    (desk.place / "current" / "app.yaml").chmod(0o666)
    (found,) = desk.driver.drift(files)
    assert (found.subject, found.kind, found.detail) == ("app.yaml", DriftKind.CHANGED, "mode 666, not 644")
    desk.driver.place(ONE, files)
    assert desk.driver.drift(files) == ()


def test_current_replaced_by_a_directory(desk: Desk) -> None:
    files = desk.current(desk.files("1"))
    (desk.place / "current").unlink()
    (desk.place / "current").mkdir()
    (desk.place / "current" / "mine").write_text("by hand")
    assert {d.subject: d.kind for d in desk.driver.drift(files)} == {
        "current": DriftKind.CHANGED,
        "app.yaml": DriftKind.MISSING,
        "conf/deep/x": DriftKind.MISSING,
        "mine": DriftKind.UNKNOWN,
    }
    assert desk.driver.current() == ""
    captured = desk.driver.capture()
    assert [f.path for f in captured] == ["mine"]
    desk.driver.switch(ONE)
    assert desk.driver.drift(files) == ()
    (kept,) = (desk.place / "aside").glob("*/current/mine")
    assert kept.read_text() == "by hand"


def test_current_repointed_by_hand(desk: Desk, tmp_path: Path) -> None:
    files = desk.current(desk.files("1"))
    desk.driver.place(TWO, desk.files("2"))
    link = desk.place / "current"
    link.unlink()
    link.symlink_to(f"releases/{short(TWO)}")
    assert "current" in {d.subject for d in desk.driver.drift(files)}
    assert desk.driver.current() == TWO  # what is so, not what we did last
    link.unlink()
    link.symlink_to(tmp_path)
    assert ("current", f"points to {tmp_path}") in {(d.subject, d.detail) for d in desk.driver.drift(files)}
    assert desk.driver.current() == ""
    link.unlink()
    link.symlink_to("releases/never-there")
    assert [d.subject for d in desk.driver.drift(files)] == ["current"]
    desk.driver.switch(ONE)
    assert desk.driver.drift(files) == ()


def test_nothing_is_written_through_a_link(desk: Desk, tmp_path: Path) -> None:
    files = desk.current(desk.files("1"))
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = desk.place / "current" / "conf"
    inside.rename(tmp_path / "gone")
    inside.symlink_to(outside)
    (desk.place / "current" / "app.yaml").unlink()
    (desk.place / "current" / "app.yaml").symlink_to(outside / "app.yaml")
    with pytest.raises(Rejected, match="symbolic link"):
        desk.driver.capture()
    desk.driver.place(ONE, files)
    assert desk.driver.drift(files) == ()
    assert list(outside.iterdir()) == []


def test_a_directory_where_a_file_belongs_goes_aside(desk: Desk) -> None:
    files = desk.current(desk.files("1"))
    file = desk.place / "current" / "app.yaml"
    file.unlink()
    file.mkdir()
    (file / "note").write_text("mine")
    desk.driver.place(ONE, files)
    assert desk.driver.drift(files) == ()
    assert [p.read_text() for p in (desk.place / "aside").rglob("note")] == ["mine"]


def test_a_file_that_is_also_a_directory_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput):
        desk.driver.place(ONE, desk.files("1", ("a", "a/b")))


@pytest.mark.parametrize("release", ["../x", "sha256:../../etc/x", "a/b", ".."])
def test_a_release_name_can_not_leave_the_root(desk: Desk, release: str) -> None:
    with pytest.raises(InvalidInput):
        desk.driver.place(release, ())
    with pytest.raises(InvalidInput):
        desk.driver.switch(release)


def test_two_releases_with_the_same_first_digits(desk: Desk) -> None:
    desk.current(desk.files("1"))
    with pytest.raises(Rejected, match="already uses"):
        desk.driver.place(ONE[:-1] + "_", desk.files("2"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({}, "root"), ({"root": "here"}, "root"), ({"root": 1}, "root"), ({"root": "/r", "mode": 1}, "mode")],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{named}'"):
        create(UNIT, settings, FakeTools(tmp_path))


def test_a_root_that_can_not_be_is_a_wrong_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "no" / "such", tmp_path / "file", tmp_path / "file" / "below"):
        desk = Desk(root)
        with pytest.raises(Rejected) as refused:
            desk.driver.place(ONE, desk.files("1"))
        assert refused.value.cause is Cause.WRONG_PATH
        assert str(root) in str(refused.value)


HEAD = """
import json, os, pickle, sys
from lastgood.domain.errors import Rejected
from lastgood.domain.unit import UnitId
from lastgood.drivers.files.driver import create
root, tools, one, two, ONE, TWO = pickle.loads(sys.stdin.buffer.read())
driver = create(UnitId("shop", "prod", "us"), {"root": root}, tools)
def refused(call):
    try:
        call()
    except Rejected as e:
        return {"what": str(e), "cause": str(e.cause), "missing": str(e.what.params.get("missing"))}
    return {"what": "was not refused"}
"""


@contextmanager
def begin(code: str, desk: Desk, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """``code`` in a process of its own that knows ``desk``'s parts; begun when it has said so."""
    told = pickle.dumps((str(desk.root), desk.tools, desk.files("1"), desk.files("2"), ONE, TWO))
    command = [*before, sys.executable, "-c", HEAD + code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(told)
        process.stdin.close()
        assert process.stdout.readline() == b"begun\n"
        yield process


def elsewhere(code: str, desk: Desk, *before: str) -> dict[str, str]:
    """What ``code`` prints as JSON."""
    with begin("print('begun', flush=True)\n" + code, desk, *before) as process:
        assert process.stdout is not None
        answer: dict[str, str] = json.loads(process.stdout.read())
    assert process.returncode == 0
    return answer


SMALL = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"'


@pytest.mark.parametrize("leave", [0, 4096])
def test_a_full_disk_is_said_and_current_stays(desk: Desk, leave: int) -> None:
    """In a mount namespace of its own, so that the small disk goes when the process does."""
    desk.root.mkdir()
    code = f"""
driver.place(ONE, one)
driver.switch(ONE)
full = os.path.join(root, "full")
with open(full, "wb", buffering=0) as file:
    try:
        while True: file.write(b"x" * 4096)
    except OSError: pass
os.truncate(full, os.path.getsize(full) - {leave})
answer = refused(lambda: driver.place(TWO, two))
answer["current"] = driver.current()
answer["drift"] = str(driver.drift(one))
answer["again"] = refused(lambda: driver.switch(TWO))["what"]
os.unlink(full)
driver.place(TWO, two)
driver.switch(TWO)
answer["after"] = driver.current()
answer["after drift"] = str(driver.drift(two))
print(json.dumps(answer))
"""
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    answer = elsewhere(code, desk, *alone, "sh", "-c", SMALL, str(desk.root))
    assert "the disk is full at" in answer["what"]
    assert short(TWO) in answer["what"]
    assert int(answer["missing"]) >= 4096
    assert f"current is still {short(ONE)}" in answer["what"]
    assert (answer["current"], answer["drift"]) == (ONE, "()")
    assert "never completely placed" in answer["again"]
    assert (answer["after"], answer["after drift"]) == (TWO, "()")


def test_a_full_disk_in_switch(desk: Desk) -> None:
    """Inodes may run out as well: a rename needs a new name for a moment."""
    desk.root.mkdir()
    code = """
driver.place(ONE, one)
driver.place(TWO, two)
driver.switch(ONE)
try:
    for n in range(1000): os.mkdir(os.path.join(root, str(n)))
except OSError: pass
answer = refused(lambda: driver.switch(TWO))
answer["current"] = driver.current()
os.rmdir(os.path.join(root, "0"))
driver.switch(TWO)
answer["after"] = driver.current()
print(json.dumps(answer))
"""
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    mount = SMALL.replace("size=256k", "size=256k,nr_inodes=40")
    answer = elsewhere(code, desk, *alone, "sh", "-c", mount, str(desk.root))
    assert "the disk is full at" in answer["what"]
    assert (answer["current"], answer["after"]) == (ONE, TWO)


def test_missing_rights_are_a_permission_problem() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own directories can't be entered by others
        Path(folder).chmod(0o755)
        desk = Desk(Path(folder) / "config")
        desk.current(desk.files("1"))
        (desk.place / "releases").chmod(0o555)
        code = """
if os.geteuid() == 0:
    os.setuid(65534)  # rights don't bind root
print(json.dumps(refused(lambda: driver.place(TWO, two)) | {"current": driver.current()}))
"""
        answer = elsewhere(code, desk)
        (desk.place / "releases").chmod(0o755)
    assert "permission denied at" in answer["what"]
    assert answer["cause"] == "Cause.PERMISSION"
    assert answer["current"] == ONE


LOOP = """
import shutil
releases = os.path.join(root, "shop.prod.us", "releases")
print("begun", flush=True)
while True:
    for release, files in ((ONE, one), (TWO, two)):
        if driver.current() != release:  # so that placing it is real work every time
            shutil.rmtree(os.path.join(releases, release[7:19]), ignore_errors=True)
        driver.place(release, files)
        driver.switch(release)
"""


def test_killed_at_any_moment_current_is_whole(desk: Desk) -> None:
    """Thirty kills at random times of a process that places and switches without pause."""
    chance = random.Random(7)
    one, two = desk.files("1"), desk.files("2")
    manifests = {ONE: one, TWO: two}
    desk.current(one)
    seen, leftovers = set(), 0
    for _ in range(30):
        with begin(LOOP, desk) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=chance.uniform(0.01, 0.15))
            process.kill()
        release = desk.driver.current()
        seen.add(release)
        leftovers += len([p for p in desk.place.rglob("*") if p.name.startswith(tree.TEMPORARY)])
        assert desk.driver.drift(manifests[release]) == ()
    assert seen == set(manifests)
    assert leftovers  # some kills did hit a half-written file
    desk.current(two, TWO)
    desk.current(one)
    assert desk.driver.drift(one) == ()
    assert not [p for p in desk.place.rglob("*") if p.name.startswith(tree.TEMPORARY)]


def test_the_fingerprint_is_that_of_the_manifest(desk: Desk) -> None:
    assert desk.driver.observe().fingerprint == digest("no current directory")
    files = desk.current(desk.files("1"))
    seen = desk.driver.observe()
    assert seen.fingerprint == fingerprint(tuple(reversed(files)))
    assert seen.facts == {"release": ONE, "files": 2}
