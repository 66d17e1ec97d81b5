"""The estate of the demonstration is one that the product itself finds nothing wrong with."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from lastgood.demo import estate
from lastgood.domain.unit import Role, UnitId
from lastgood.estate.reader import GitEstateReader
from tests.demo.shop_process import KEY

PROD = UnitId("storefront", "prod", "us")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "estate"
    estate.write_estate(
        directory,
        database_url_base="postgresql://postgres@127.0.0.1:5432",
        caddy_admin="http://127.0.0.1:2019",
        pointers_dir=tmp_path / "pointers",
        files_root=tmp_path / "files",
        process_root=tmp_path / "process",
        ports={unit: 9000 + n for n, unit in enumerate(estate.UNITS)},
        python='/opt/an "odd" place/python',
    )
    return directory


def settings(directory: Path, commit: str, unit: UnitId) -> dict[str, dict[str, object]]:
    rendered = GitEstateReader(directory).at(commit).render(unit)
    return tomllib.loads(rendered.contents[rendered.release.files[0].content].decode())


def test_both_commits_are_lint_clean(repository: Path) -> None:
    good, bad = estate.commit_good(repository), estate.commit_bad(repository)
    reader = GitEstateReader(repository)
    for commit in (good, bad):
        assert [(p.path, p.line, str(p.what)) for p in reader.at(commit).lint()] == []
        assert sorted(reader.at(commit).units()) == sorted(estate.UNITS)
    assert reader.is_ancestor(good, bad)
    assert list(reader.dirty()) == []


def test_committing_again_changes_nothing(repository: Path) -> None:
    good = estate.commit_good(repository)
    assert estate.commit_good(repository) == good
    bad = estate.commit_bad(repository)
    assert estate.commit_bad(repository) == bad != good


def test_the_bad_commit_changes_artifact_setting_and_schema(repository: Path) -> None:
    good, bad = estate.commit_good(repository), estate.commit_bad(repository)
    reader = GitEstateReader(repository)
    first, second = (reader.at(commit).render(PROD).release for commit in (good, bad))
    assert first.artifact is not None
    assert second.artifact is not None
    assert first.artifact.digest != second.artifact.digest
    assert [m.name for m in first.databases[0].migrations] == ["0001_init"]
    assert [m.name for m in second.databases[0].migrations] == ["0001_init", "0002_gift_notes"]
    assert "three_ds" not in settings(repository, good, PROD)["payment"]
    three_ds = {str(u): settings(repository, bad, u)["payment"]["three_ds"] for u in estate.UNITS}
    assert three_ds == {str(u): "required" if u.environment == "prod" else "off" for u in estate.UNITS}


def test_sites_differ_where_they_may(repository: Path) -> None:
    commit = estate.commit_good(repository)
    currencies = {u.site: settings(repository, commit, u)["shop"]["currency"] for u in estate.UNITS}
    assert currencies == {"us": "USD", "de": "EUR", "jp": "JPY"}
    rendered = GitEstateReader(repository).at(commit).render(PROD)
    assert [spec.role for spec in rendered.release.roles] == [Role.WEB, Role.WORKER]
    assert rendered.release.roles[0].command[0] == '/opt/an "odd" place/python'
    assert {c.name for c in rendered.release.criteria} == {"orders", "errors", "probe"}
    assert [s.env for s in rendered.secrets] == ["SHOP_PAYMENT_KEY"]
    assert KEY not in str(rendered)


def test_a_reader_with_hooks_and_signing_is_not_in_the_way(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    config = tmp_path / "home" / ".gitconfig"
    config.parent.mkdir()
    config.write_text(f"[commit]\ngpgsign = true\n[core]\nhooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(config.parent))
    commit = estate.commit_good(repository)
    shown = subprocess.run(
        ["git", "-C", repository, "log", "--format=%H %an"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == [commit, "Shop", "Team"]
