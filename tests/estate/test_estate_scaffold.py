"""The estate to begin with lints clean, and its service runs."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import Role, UnitId
from lastgood.estate.reader import GitEstateReader
from lastgood.estate.scaffold import scaffold
from lastgood.estate.scaffold_image import image_files
from tests.estate.repositories import Repository


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until and process.poll() is None:
        try:
            ask(port, "/healthz")
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the service does not answer")


def test_it_lints_clean_and_is_committed(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "estate"
    root.mkdir(parents=True)
    made = scaffold(root, name="harbour")
    reader = GitEstateReader(root)
    estate = reader.at("HEAD")
    assert estate.lint() == []
    assert reader.dirty() == ()
    assert all((root / path).is_file() for path in made)
    assert [e.name for e in estate.environments] == ["dev", "staging", "prod"]
    assert [str(u) for u in estate.units()] == [
        f"hello@{environment}/{site}" for environment in ("dev", "staging", "prod") for site in ("us", "de")
    ]
    releases = [estate.render(unit).release for unit in estate.units()]
    listens = [r.traffic.settings["listen"] for r in releases if r.traffic is not None]
    assert len(set(listens)) == 6, "each unit has a port of its own"


def test_its_service_really_runs(tmp_path: Path, free_port: int) -> None:
    root = tmp_path / "estate"
    root.mkdir()
    scaffold(root, name="harbour")
    rendered = GitEstateReader(root).at("HEAD").render(UnitId("hello", "prod", "de"))
    release = rendered.release
    assert release.artifact is not None
    for folder, files in (("config", release.files), ("artifact", release.artifact.files)):
        for entry in files:
            path = tmp_path / folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rendered.contents[entry.content])
    (web,) = release.roles
    assert web.role is Role.WEB
    assert web.ready is not None
    places = {"artifact": tmp_path / "artifact", "config": tmp_path / "config", "port": free_port}
    program, *arguments = [part.format(**places) for part in web.command]
    assert program == "python3"
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_for_answer(free_port, process)
        assert ask(free_port, web.ready.path) == (200, "ok\n")
        assert ask(free_port, "/") == (200, "Hallo, world! (prod/de)\n")
        assert ask(free_port, "/other")[0] == 404
    finally:
        process.terminate()
        process.wait(10)


def test_in_a_repository_it_writes_and_does_not_commit(empty: Repository) -> None:
    empty.write({"README.md": "mine\n"})
    before = empty.commit()
    made = scaffold(empty.root, name="mine")
    assert empty.git("rev-parse", "HEAD") == before
    assert set(empty.reader.dirty()) == {str(path) for path in made}
    assert empty.lint() == []


def test_it_overwrites_nothing(empty: Repository) -> None:
    empty.write({"lastgood.yaml": "name: mine\n"})
    with pytest.raises(InvalidInput, match="there is an estate"):
        scaffold(empty.root, name="mine")
    (empty.root / "lastgood.yaml").unlink()
    empty.write({"services/hello/values.yaml": "mine: 1\n"})
    with pytest.raises(InvalidInput, match="would be overwritten"):
        scaffold(empty.root, name="mine")
    assert [p.name for p in empty.root.iterdir() if p.name != ".git"] == ["services"]


@pytest.mark.parametrize("name", ["", "Upper", "../x", "a b", "x" * 64])
def test_a_name_that_can_not_be_used(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a name"):
        scaffold(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InvalidInput, match="can't be written"):
        scaffold(file / "below", name="mine")


def test_the_author_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in [v for v in os.environ if v.startswith("GIT_") and v != "GIT_CONFIG_NOSYSTEM"]:
        monkeypatch.delenv(variable)
    (tmp_path / ".gitconfig").write_text("[user]\n name = Ada\n email = ada@example.org\n")
    root = tmp_path / "estate"
    root.mkdir()
    scaffold(root, name="mine")
    shown = subprocess.run(
        ["git", "log", "--format=%an %ae"], cwd=root, check=True, capture_output=True, text=True
    )
    assert shown.stdout == "Ada ada@example.org\n"


def test_one_for_an_image_lints_clean_and_names_what_runs_now(tmp_path: Path) -> None:
    files = image_files("harbour", "web", "registry.example.com/shop/web:1.4", 8080, 80, "/up")
    scaffold(tmp_path, name="harbour", files=files)
    estate = GitEstateReader(tmp_path).at("HEAD")
    assert estate.lint() == []
    (unit,) = estate.units()
    assert str(unit) == "web@prod/us"
    rendered = estate.render(unit)
    assert rendered.image == "registry.example.com/shop/web:1.4"
    release = rendered.release
    assert [t.driver for t in (release.runtime, release.traffic, release.registry) if t] == [
        "docker",
        "haproxy",
        "registry",
    ]
    assert [(step.percent, step.seconds) for step in release.canary] == [(5.0, 30.0), (25.0, 30.0)]
    assert release.roles[0].ready is not None
    assert (release.roles[0].replicas, release.roles[0].ready.path) == (2, "/up")
    assert release.keep.restore_points == 5


@pytest.mark.parametrize(
    ("service", "image", "word"),
    [("web", "shop/web:1", "is not an image"), ("Web!", "registry.example.com/shop/web:1", "not a name")],
)
def test_one_for_an_image_that_can_not_be_meant_is_refused(service: str, image: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        image_files("harbour", service, image, 8080, 80, "/")
