"""Reading from Git: any repository, no user's configuration, nothing that is not a plain file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.estate.reader import GitEstateReader
from tests.estate.repositories import Repository

UNIT = UnitId("web", "prod", "us")


@pytest.mark.parametrize(
    "revision", ["nothing", "0" * 40, "", "--all", "HEAD~999", "a b", "x\0y", "HEAD:lastgood.yaml"]
)
def test_a_commit_that_does_not_exist(repository: Repository, revision: str) -> None:
    with pytest.raises(InvalidInput, match="there is no commit"):
        repository.reader.at(revision)


def test_any_revision_git_understands(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "-a", "v1", "-m", "one")
    second = repository.commit()
    reader = repository.reader
    assert {reader.at(name).commit for name in ("HEAD~1", "v1", first[:8], "main^")} == {first}
    assert reader.at("main").commit == second
    assert reader.is_ancestor(first, second)
    assert not reader.is_ancestor(second, first)
    with pytest.raises(InvalidInput):
        reader.is_ancestor("nothing", "HEAD")


def test_a_directory_that_is_no_repository(tmp_path: Path) -> None:
    reader = GitEstateReader(tmp_path)
    for ask in (lambda: reader.at("HEAD"), reader.worktree, reader.dirty):
        with pytest.raises(InvalidInput, match="is not a Git repository") as caught:
            ask()
        assert "lastgood init" in str(caught.value.todo)
    with pytest.raises(InvalidInput, match="there is no directory"):
        GitEstateReader(tmp_path / "nowhere").at("HEAD")


def test_git_missing(repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="'git' was not found") as caught:
        repository.reader.at("HEAD")
    assert "Install Git" in str(caught.value.todo)


def test_a_repository_without_an_estate(empty: Repository) -> None:
    empty.write({"README.md": "nothing here\n"})
    empty.commit()
    with pytest.raises(InvalidInput, match=r"there is no lastgood.yaml"):
        empty.reader.at("HEAD")


def test_bare_and_detached(repository: Repository, tmp_path: Path) -> None:
    expected = repository.reader.at("HEAD").render(UNIT).release
    bare = tmp_path / "bare.git"
    repository.git("clone", "--quiet", "--bare", str(repository.root), str(bare))
    reader = GitEstateReader(bare)
    assert reader.at("main").render(UNIT).release == expected
    assert reader.dirty() == ()
    with pytest.raises(InvalidInput, match="bare repository has no working tree"):
        reader.worktree()
    repository.git("checkout", "--quiet", "--detach")
    assert repository.reader.at("HEAD").render(UNIT).release == expected


def test_an_estate_below_the_top_of_a_repository(repository: Repository, tmp_path: Path) -> None:
    outer = Repository(tmp_path / "outer")
    shutil.copytree(repository.root, outer.root / "ops/estate", ignore=shutil.ignore_patterns(".git"))
    outer.write({"other/file": "x"})
    outer.commit()
    reader = GitEstateReader(outer.root / "ops/estate")
    expected = repository.render("web@prod/us").release.digest
    assert reader.at("HEAD").render(UNIT).release.digest == expected
    assert reader.worktree().render(UNIT).release.digest == expected
    outer.write({"other/file": "y", "ops/estate/services/web/values.yaml": "port: 1\n"})
    assert reader.dirty() == ("services/web/values.yaml",)


def test_dirty_names_what_is_not_committed(repository: Repository) -> None:
    assert repository.reader.dirty() == ()
    repository.edit("services/web/values.yaml", "8000", "8001")
    repository.write({"services/web/templates/new ü.conf": "x", ".gitignore": "ignored\n", "ignored": "x"})
    (repository.root / "services/web/README.md").unlink()
    repository.git("mv", "services/web/sites/de.yaml", "services/web/sites/us.yaml")
    assert repository.reader.dirty() == (
        ".gitignore",
        "services/web/README.md",
        "services/web/sites/de.yaml",
        "services/web/sites/us.yaml",
        "services/web/templates/new ü.conf",
        "services/web/values.yaml",
    )
    assert repository.reader.at("HEAD").explain(UNIT, "port").value == 8000
    assert repository.estate().explain(UNIT, "port").value == 8001


def test_the_users_configuration_changes_nothing_and_no_hook_runs(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = repository.reader.at("HEAD").render(UNIT).release
    ran = tmp_path / "ran"
    for name in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
        hook = repository.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
        hook.chmod(0o755)
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\necho monitor >> {ran}\n")
    monitor.chmod(0o755)
    repository.git("config", "core.fsmonitor", str(monitor))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[core]\n quotepath = on\n autocrlf = true\n"
        "[status]\n short = true\n branch = true\n[color]\n ui = always\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    reader = repository.reader
    assert reader.at("HEAD").render(UNIT).release == expected
    assert reader.worktree().render(UNIT).release.digest == expected.digest
    assert reader.dirty() == ()
    assert not ran.exists()


def test_replaced_objects_are_not_followed(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.edit("services/web/values.yaml", "8000", "6666")
    second = repository.commit()
    repository.git("replace", first, second)
    assert repository.reader.at(first).explain(UNIT, "port").value == 8000


def test_symbolic_links_and_submodules_are_refused(repository: Repository) -> None:
    (repository.root / "services/web/templates/passwd.j2").symlink_to("/etc/passwd")
    inner = Repository(repository.root / "services/web/app/vendored")
    inner.write({"x": "y"})
    inner.commit()
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "-m", "links")
    for estate in (repository.reader.at("HEAD"), repository.estate()):
        with pytest.raises(InvalidInput, match=r"symbolic link|submodule"):
            estate.render(UNIT)
        found = {(p.path, str(p.what).partition(" is ")[2]) for p in estate.lint() if p.severity == "error"}
        assert found == {
            ("services/web/templates/passwd.j2", "a symbolic link; an estate holds only plain files"),
            ("services/web/app/vendored", "a submodule or a special file; an estate holds only plain files"),
        }


def test_a_linked_folder_is_not_followed(repository: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "app.conf.j2").write_text("from outside\n")
    shutil.rmtree(repository.root / "services/web/templates")
    (repository.root / "services/web/templates").symlink_to(outside)
    with pytest.raises(InvalidInput, match="symbolic link"):
        repository.render("web@prod/us")


def commit_with(repository: Repository, name: bytes) -> str:
    """A commit whose templates folder holds a file with a name that ``git add`` would refuse."""

    def tree(entries: bytes) -> str:
        return repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=entries)

    def entry(mode: bytes, named: bytes, oid: str) -> bytes:
        return mode + b" " + named + b"\0" + bytes.fromhex(oid)

    blob = repository.git("hash-object", "-w", "--stdin", stdin=b"evil")
    templates = tree(entry(b"100644", name, blob))
    service = repository.git("rev-parse", "HEAD:services/web/service.yaml")
    web = tree(entry(b"100644", b"service.yaml", service) + entry(b"40000", b"templates", templates))
    services = tree(entry(b"40000", b"web", web))
    root = repository.git("rev-parse", "HEAD:lastgood.yaml")
    top = tree(entry(b"100644", b"lastgood.yaml", root) + entry(b"40000", b"services", services))
    return repository.git("commit-tree", top, "-m", "odd")


@pytest.mark.parametrize(
    "name",
    [
        b"..",
        b"../../../evil",
        b"/etc/evil",
        b".git",
        b".GIT",
        b"a\\b",
        b"a\nb",
        b"\xff\xfe",
        b" padded",
        b".",
    ],
)
def test_file_names_that_leave_or_deceive(repository: Repository, name: bytes) -> None:
    estate = repository.reader.at(commit_with(repository, name))
    with pytest.raises(InvalidInput, match=r"the file name '.*' can't be used"):
        estate.render(UNIT)
    assert any("can't be used" in str(p.what) for p in estate.lint())


def test_a_damaged_repository_is_told(repository: Repository) -> None:
    blob = repository.git("rev-parse", "HEAD:services/web/values.yaml")
    (repository.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(InvalidInput, match="missing from the repository") as caught:
        repository.reader.at("HEAD")
    assert "git fsck" in str(caught.value.todo)
