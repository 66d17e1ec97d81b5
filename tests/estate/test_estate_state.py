"""What lastgood knows itself does not lie in a database that a restore takes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lastgood.bootstrap.reviews import InstalledRewinders
from lastgood.domain.errors import InvalidInput
from lastgood.estate.reader import GitEstateReader
from lastgood.ports.rewinding import OwnState, Rewinds
from lastgood.testing import fake_database
from tests.estate.repositories import Repository

DATABASE = "databases/shop/database.yaml"


class Files:
    """The fake's database is a file."""

    def of(self, driver: str) -> Rewinds | None:
        return fake_database if driver == "fake" else None


def told(repository: Repository, state: Path) -> list[str]:
    found = GitEstateReader(repository.root, OwnState(state, Files())).worktree().lint()
    return [f"{one.path}:{one.line} {one.what}" for one in found if "our own state" in str(one.what)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    return tmp_path / "state"


def on_file(repository: Repository, path: Path) -> None:
    repository.edit(DATABASE, "driver: postgresql", f"driver: fake\nsettings: {{path: {path}}}")


@pytest.mark.parametrize("place", ["state/lastgood.db", "state/shop.db", "link/lastgood.db", "."])
def test_a_file_that_is_ours_or_holds_ours_is_refused(
    repository: Repository, state: Path, place: str
) -> None:
    on_file(repository, state.parent / place)
    found, *_ = told(repository, state)
    assert found.startswith(f"{DATABASE}:4 a restore of shop@")
    assert f"{state.parent / place} and {state} overlap" in found


@pytest.mark.parametrize("place", ["shop.db", "state-of-the-shop/shop.db"])
def test_another_file_is_none_of_ours(repository: Repository, state: Path, place: str) -> None:
    on_file(repository, state.parent / place)
    assert told(repository, state) == []


def test_settings_that_cannot_be_read_are_no_matter_of_this(repository: Repository, state: Path) -> None:
    class Refuses:
        def of(self, driver: str) -> Rewinds | None:
            return self

        def rewound(self, settings: Mapping[str, object]) -> Sequence[Path]:
            raise InvalidInput("the url can't be read")

    found = GitEstateReader(repository.root, OwnState(state, Refuses())).worktree().lint()
    assert found == []


def test_a_server_that_is_restored_by_sql_puts_no_file_back(repository: Repository, state: Path) -> None:
    assert told(repository, state) == []
    assert [InstalledRewinders().of(name) for name in ("postgresql", "mariadb", "nothing")] == [None] * 3
