"""A database's journey: SQL that writes what the code writes, kept with the release."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

import pytest

from lastgood.domain.digest import digest_bytes, plain
from lastgood.estate.lint_journey import RUN_BY
from tests.estate.changes import DATABASE, as_text
from tests.estate.repositories import Repository

UNIT = "web@prod/us"
JOURNEY = "databases/shop/journey.sql"


def test_it_is_kept_with_the_release_by_its_digest(repository: Repository) -> None:
    before = repository.render(UNIT)
    (database,) = before.release.databases
    assert before.contents[database.journey] == (repository.root / JOURNEY).read_bytes()
    repository.write({JOURNEY: "insert into orders values (1);"})
    after = repository.render(UNIT).release
    assert after.databases[0].journey == digest_bytes(b"insert into orders values (1);")
    assert after.digest != before.release.digest


def test_without_one_the_release_is_as_it_was_and_lint_says_the_price(
    repository: Repository,
) -> None:
    (repository.root / JOURNEY).unlink()
    (found,) = repository.lint()
    assert (found.severity, found.path) == ("warning", DATABASE)
    assert "closes the shop" in as_text([found])
    (database,) = plain(repository.render(UNIT).release)["databases"]
    assert "journey" not in database


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"-- later\n;", "journey.sql of the database 'shop' is empty"), (b"insert \xff", "is not UTF-8")],
    ids=["empty", "bytes"],
)
def test_one_that_writes_nothing_is_a_mistake(repository: Repository, text: bytes, told: str) -> None:
    (repository.root / JOURNEY).write_bytes(text)
    found = [problem for problem in repository.lint() if problem.severity == "error"]
    assert [problem.path for problem in found] == [JOURNEY]
    assert told in as_text(found)


def test_a_service_that_writes_otherwise_has_its_own(repository: Repository) -> None:
    repository.write({"databases/shop/journeys/web.sql": "insert into orders values (2);"})
    assert repository.lint() == []
    rendered = repository.render(UNIT)
    (database,) = rendered.release.databases
    assert rendered.contents[database.journey] == b"insert into orders values (2);"
    (repository.root / JOURNEY).unlink()
    assert repository.lint() == [], "every user has one"


def test_a_journey_of_nobody_is_a_mistake(repository: Repository) -> None:
    repository.write({"databases/shop/journeys/wep.sql": "insert into orders values (2);"})
    (found,) = repository.lint()
    assert (found.severity, found.path) == ("error", "databases/shop/journeys/wep.sql")
    assert "Did you mean 'web'?" in as_text([found])


def test_it_is_missed_wherever_journeys_run() -> None:
    modules = {point.name: import_module(point.module) for point in entry_points(group="lastgood.drivers")}
    assert {
        name
        for name, module in modules.items()
        if any(hasattr(one, "rehearse_writes") for one in vars(module).values() if isinstance(one, type))
    } == RUN_BY
