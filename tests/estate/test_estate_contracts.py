"""A line in deploy.sql says that a migration takes away what older code needs."""

from __future__ import annotations

import pytest

from tests.estate.repositories import Repository

SCRIPT = "databases/shop/migrations/0001_orders/deploy.sql"


@pytest.mark.parametrize(
    ("line", "contracts"),
    [("-- lastgood: after the last wave", True), ("--  LastGood:  after the last wave ", True),
     ("-- after the last wave", False)],
    ids=["marked", "spaced", "not"],
)  # fmt: skip
def test_it_is_part_of_the_release(repository: Repository, line: str, contracts: bool) -> None:
    repository.write({SCRIPT: f"{line}\ncreate table orders (id int);\n"})
    (database,) = repository.render("web@prod/us").release.databases
    (migration,) = database.migrations
    assert migration.contracts is contracts
    assert database.contracting == ({"0001_orders"} if contracts else set())
    assert repository.lint() == []
