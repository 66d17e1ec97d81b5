"""lint on the migrations of an estate: their class, and statements that hurt, with the safer form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

FOLDER = "databases/shop/migrations"
DATABASE = """\
driver: postgresql
scope: environment
url: "postgresql://app@db/shop_{{ environment }}"
owner: shop-team
users: [hello]
"""


@pytest.fixture
def migrating(scaffolded: Cli, tmp_path: Path) -> Cli:
    """An estate with a database of two migrations."""
    directory = tmp_path / "shop"
    shutil.copytree(scaffolded.directory, directory, ignore=shutil.ignore_patterns(".lastgood"))
    files = {
        "databases/shop/database.yaml": DATABASE,
        f"{FOLDER}/0001_orders/deploy.sql": "CREATE TABLE orders (id int PRIMARY KEY, note text);\n",
        f"{FOLDER}/0001_orders/verify.sql": "SELECT id FROM orders;\n",
        f"{FOLDER}/0001_orders/revert.sql": "DROP TABLE orders;\n",
        f"{FOLDER}/0002_index/deploy.sql": "-- quick\n\nCREATE INDEX notes ON orders (note);\n",
        f"{FOLDER}/0002_index/verify.sql": "SELECT 1;\n",
        f"{FOLDER}/0002_index/revert.sql": "DROP INDEX notes;\n",
    }
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    service = directory / "services/hello/service.yaml"
    service.write_text(service.read_text() + "databases: [shop]\n")
    return Cli(directory)


def test_the_class_the_lock_and_the_safer_form_are_shown(migrating: Cli) -> None:
    lines = migrating("lint").stdout.splitlines()
    at = lines.index(
        f"{FOLDER}/0002_index/deploy.sql:3 warning builds an index on orders: SHARE, blocks writes"
    )
    assert lines[at + 1] == "    CREATE INDEX notes ON orders (note)"
    assert lines[at + 3 : at + 5] == [
        "      -- lastgood: no transaction",
        "      CREATE INDEX CONCURRENTLY notes ON orders (note);",
    ]
    assert f"{FOLDER}/0001_orders/deploy.sql:1 exact: it only adds" in lines
    found = migrating.data("lint")
    (hurting,) = [p for p in found["problems"] if p["finding"]]
    assert hurting["finding"]["lock"] == "SHARE"
    assert hurting["finding"]["blocks"] == "writes"
    assert hurting["finding"]["safer"][0].endswith("CREATE INDEX CONCURRENTLY notes ON orders (note);")
    assert [m["review"]["classification"]["reversibility"] for m in found["migrations"]] == ["exact", "exact"]


def test_the_safer_form_is_clean_and_a_driver_that_is_not_there_is_told(migrating: Cli) -> None:
    (hurting,) = [p for p in migrating.data("lint")["problems"] if p["finding"]]
    script = migrating.directory / FOLDER / "0002_index/deploy.sql"
    script.write_text(hurting["finding"]["safer"][0])
    assert [p for p in migrating.data("lint")["problems"] if p["finding"]] == []
    declared = migrating.directory / "databases/shop/database.yaml"
    declared.write_text(DATABASE.replace("postgresql\n", "nowhere\n", 1))
    found = migrating.data("lint")
    assert [
        str(p["what"]["template"]) for p in found["problems"] if "not reviewed" in p["what"]["template"]
    ] != []
    assert [m["review"] for m in found["migrations"]] == [None, None]


def test_it_is_said_in_chinese(migrating: Cli) -> None:
    shown = migrating("lint", LASTGOOD_LANG="zh").stdout
    assert "在 orders 上建立索引" in shown
    assert "CREATE INDEX CONCURRENTLY notes ON orders (note);" in shown


def test_mariadb_is_reviewed_without_a_server(migrating: Cli) -> None:
    declared = migrating.directory / "databases/shop/database.yaml"
    declared.write_text(DATABASE.replace("postgresql", "mariadb").replace("mariadb://", "mysql://"))
    script = migrating.directory / FOLDER / "0002_index/deploy.sql"
    script.write_text("CREATE INDEX notes ON orders (note(9));\nALTER TABLE orders MODIFY id bigint;\n")
    lines = migrating("lint").stdout.splitlines()
    at = lines.index(
        f"{FOLDER}/0002_index/deploy.sql:2 warning rewrites the whole table orders, and its indexes, for "
        "another type of id: ALGORITHM=COPY, LOCK=SHARED, blocks writes"
    )
    assert lines[at + 3] == "      ALTER TABLE orders ADD COLUMN id_new bigint, ALGORITHM=NOCOPY, LOCK=NONE;"
    assert f"{FOLDER}/0002_index/deploy.sql:2 by snapshot: it rewrites values in another type" in lines
    assert not [line for line in lines if "not reviewed" in line]
