"""The estate of the shop in containers is one that the product itself finds nothing wrong with."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.demo import container_estate as estate
from lastgood.demo.estate import SITES
from lastgood.demo.world import World
from lastgood.domain.unit import Role
from lastgood.estate.reader import GitEstateReader


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    servers = {"docker": "unix:///run/d.sock", "registry": "127.0.0.1:5000", "haproxy": "/run/h.sock"}
    ports = {unit: 9000 + n for n, unit in enumerate(SITES)}
    world = World(tmp_path, "postgresql://postgres@10.213.1.1:5432", servers, ports)
    estate.write_container_estate(world, {})
    return world.estate


def test_all_commits_are_lint_clean(repository: Path) -> None:
    commits = [c(repository) for c in (estate.commit_first, estate.commit_second, estate.commit_third)]
    assert len(set(commits)) == 3
    reader = GitEstateReader(repository)
    for commit in commits:
        assert [(p.path, p.line, str(p.what)) for p in reader.at(commit).lint()] == []
        assert sorted(reader.at(commit).units()) == sorted(SITES)


def test_what_each_release_changes(repository: Path) -> None:
    commits = [c(repository) for c in (estate.commit_first, estate.commit_second, estate.commit_third)]
    reader = GitEstateReader(repository)
    rendered = [reader.at(commit).render(SITES[0]) for commit in commits]
    assert [r.image for r in rendered] == [f"127.0.0.1:5000/shop/storefront:{n}" for n in "123"]
    assert [len(r.release.databases[0].migrations) for r in rendered] == [1, 2, 2]
    files = [r.release.files[0].content for r in rendered]
    assert files[0] == files[1] != files[2]
    assert [(s.role, s.replicas) for s in rendered[0].release.roles] == [(Role.WEB, 2), (Role.WORKER, 1)]
