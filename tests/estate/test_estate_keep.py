"""What an estate declares of going back with what was written since."""

from __future__ import annotations

import pytest

from lastgood.domain.digest import plain
from tests.estate.changes import DATABASE, MIGRATIONS, as_text, edit
from tests.estate.repositories import Repository

UNIT = "web@prod/us"
KEEPS = edit(DATABASE, "users: [web]\n", "users: [web]\nkeep: [orders]\n")


def test_what_is_kept_and_what_it_is_called(repository: Repository) -> None:
    called = "called: {orders: {en: orders, zh: 订单}, public.lines: ordered goods}\n"
    repository.edit(DATABASE, "users: [web]\n", f"users: [web]\nkeep: [orders, public.lines]\n{called}")
    assert repository.lint() == []
    (database,) = repository.render(UNIT).release.databases
    assert database.keep == ("orders", "public.lines")
    assert database.called == {
        "orders": {"en": "orders", "zh": "订单"},
        "public.lines": {"en": "ordered goods"},
    }


def test_who_says_nothing_of_it_has_the_release_that_there_was(repository: Repository) -> None:
    (database,) = plain(repository.render(UNIT).release)["databases"]
    assert {"keep", "called"}.isdisjoint(database)
    before = repository.render(UNIT).release.digest
    KEEPS(repository)
    assert repository.render(UNIT).release.digest != before


@pytest.mark.parametrize("table", ["outbox", "Idempotency_keys", '"stock_levels"', "public.inbox_messages"])
def test_a_table_that_nobody_thinks_of_is_named(repository: Repository, table: str) -> None:
    KEEPS(repository)
    scripts = {"deploy": f"create table if not exists {table} (id int);", "verify": "select 1;",
               "revert": f"drop table {table};"}  # fmt: skip
    repository.write({f"{MIGRATIONS}/0002_more/{name}.sql": text for name, text in scripts.items()})
    (found,) = repository.lint()
    assert (found.severity, found.path) == ("warning", DATABASE)
    assert table.strip('"').removeprefix("public.") in as_text([found])


def test_without_keep_every_table_is_kept_and_nothing_is_lacking(repository: Repository) -> None:
    repository.write({f"{MIGRATIONS}/0002_more/deploy.sql": "create table outbox (id int);"})
    repository.write({f"{MIGRATIONS}/0002_more/verify.sql": "select 1;"})
    repository.write({f"{MIGRATIONS}/0002_more/revert.sql": "drop table outbox;"})
    assert repository.lint() == []


@pytest.mark.parametrize("wrong", ["keep: orders", "called: {orders: {fr: commandes}}", "called: [orders]"])
def test_what_is_written_wrong_is_found(repository: Repository, wrong: str) -> None:
    repository.edit(DATABASE, "users: [web]\n", f"users: [web]\n{wrong}\n")
    (found,) = [p for p in repository.lint() if p.severity == "error"][:1]
    assert found.path == DATABASE
