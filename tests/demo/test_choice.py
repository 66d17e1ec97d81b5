"""Which story is told, and what is said when its server is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.demo import cli
from lastgood.demo.container_story import ContainerStory
from lastgood.demo.restore_story import RestoreStory
from lastgood.demo.story import MariadbStory, Story
from lastgood.domain.errors import InvalidInput
from lastgood.testing import mariadb_server

POSTGRESQL, MARIADB = cli.DatabaseKind.POSTGRESQL, cli.DatabaseKind.MARIADB


def test_each_option_has_its_story() -> None:
    assert cli.story_of(docker=False, restore=False, database=POSTGRESQL) is Story
    assert cli.story_of(docker=True, restore=False, database=POSTGRESQL) is ContainerStory
    assert cli.story_of(docker=False, restore=True, database=POSTGRESQL) is RestoreStory
    assert cli.story_of(docker=False, restore=False, database=MARIADB) is MariadbStory


@pytest.mark.parametrize(
    ("docker", "restore", "database"),
    [(True, True, POSTGRESQL), (True, False, MARIADB), (False, True, MARIADB)],
)
def test_two_stories_at_once_are_refused(docker: bool, restore: bool, database: cli.DatabaseKind) -> None:
    with pytest.raises(InvalidInput):
        cli.story_of(docker=docker, restore=restore, database=database)


def test_a_server_that_is_not_installed_is_named_with_the_next_thing_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mariadb_server, "PLACES", str(tmp_path))
    with pytest.raises(InvalidInput, match="no mariadbd on PATH") as caught:
        cli.story_of(docker=False, restore=False, database=MARIADB)
    assert "apt-get install mariadb-server" in str(caught.value.todo)
