"""What lint says of a statement is what the server does: its lock, its rewrite, and the safer form."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from lastgood.domain.finding import Blocks, Finding
from lastgood.drivers.postgresql.review import review
from lastgood.ports.reviewing import Review
from lastgood.testing.conformance_migrates import script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, note varchar(20), qty int, price numeric(8,2), customer int);
CREATE INDEX orders_note ON orders (note);
CREATE TABLE years (id int, year int) PARTITION BY RANGE (year);
CREATE TABLE y1 PARTITION OF years FOR VALUES FROM (1) TO (2);
CREATE TABLE y2 (id int, year int);
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM orders;
CREATE UNIQUE INDEX counted_n ON counted (n);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
INSERT INTO customers VALUES (1, 'a');
INSERT INTO orders SELECT n, 'note ' || n, n, n, 1 FROM generate_series(1, 3) n;
"""
ORDERS = script("0001_shop", SHOP, "SELECT 1;", "DROP TABLE orders;")
STRONG = "ACCESS EXCLUSIVE"
STRENGTH = ["ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", STRONG]


@dataclass
class Claim:
    """``rewrites``: the server writes the table anew."""

    statement: str
    lock: str
    rewrites: bool = False
    table: str = "orders"


CLAIMS = {
    "index": Claim("CREATE INDEX i ON orders (qty)", "SHARE"),
    "unique": Claim("ALTER TABLE orders ADD UNIQUE (note)", STRONG),
    "key": Claim("ALTER TABLE customers ADD CONSTRAINT k UNIQUE (name)", STRONG, table="customers"),
    "primary": Claim("ALTER TABLE y2 ADD PRIMARY KEY (id)", STRONG, table="y2"),
    "exclude": Claim("ALTER TABLE orders ADD EXCLUDE USING btree (qty WITH =)", STRONG),
    "not null": Claim("ALTER TABLE orders ALTER COLUMN note SET NOT NULL", STRONG),
    "check": Claim("ALTER TABLE orders ADD CHECK (qty > 0)", STRONG),
    "foreign": Claim(
        "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers (id)", "SHARE ROW EXCLUSIVE"
    ),
    "volatile": Claim("ALTER TABLE orders ADD token uuid DEFAULT gen_random_uuid()", STRONG, True),
    "serial": Claim("ALTER TABLE orders ADD COLUMN n serial", STRONG, True),
    "identity": Claim(
        "ALTER TABLE orders ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY", STRONG, True
    ),
    "stored": Claim(
        "ALTER TABLE orders ADD COLUMN total numeric GENERATED ALWAYS AS (qty * price) STORED", STRONG, True
    ),
    "checked column": Claim("ALTER TABLE orders ADD COLUMN x int CHECK (x > 0)", STRONG),
    "type": Claim("ALTER TABLE orders ALTER COLUMN qty TYPE bigint", STRONG, True),
    "narrower": Claim("ALTER TABLE orders ALTER COLUMN note TYPE varchar(10)", STRONG, True),
    "scale": Claim("ALTER TABLE orders ALTER COLUMN price TYPE numeric(10,3)", STRONG, True),
    "unlogged": Claim("ALTER TABLE orders SET UNLOGGED", STRONG, True),
    "cluster": Claim("CLUSTER orders USING orders_pkey", STRONG, True),
    "reindex": Claim("REINDEX TABLE orders", "SHARE"),
    "refresh": Claim("REFRESH MATERIALIZED VIEW counted", STRONG, True, "counted"),
    "attach": Claim(
        "ALTER TABLE years ATTACH PARTITION y2 FOR VALUES FROM (2) TO (3)", STRONG, table="y2"
    ),
    "detach": Claim("ALTER TABLE years DETACH PARTITION y1", STRONG, table="years"),
    "lock": Claim("LOCK TABLE orders", STRONG),
    "update": Claim("UPDATE orders SET qty = qty + 1", "ROW EXCLUSIVE"),
    "delete": Claim("DELETE FROM orders WHERE true", "ROW EXCLUSIVE"),
    "drop column": Claim("ALTER TABLE orders DROP COLUMN note", STRONG),
    "drop": Claim("DROP TABLE customers", STRONG, table="customers"),
    "rename": Claim("ALTER TABLE orders RENAME COLUMN note TO text", STRONG),
}  # fmt: skip


def findings(deploy: str, revert: str = "SELECT 1") -> tuple[Finding, ...]:
    return reviewed(deploy, revert).findings


def reviewed(deploy: str, revert: str = "SELECT 1") -> Review:
    # Only what can be read of it is known: the tables are not this script's own.
    first, second = review([ORDERS, script("0002_x", deploy, "SELECT 1", revert)])
    assert first.findings == ()
    return second


@pytest.fixture
def shop(emptied_lab: Lab) -> Lab:
    emptied_lab.ask(SHOP)
    return emptied_lab


WORDS = {w.replace(" ", "").lower() + "lock": w for w in STRENGTH}


def held(connection: psycopg.Connection[Any], oid: object) -> set[str]:
    """Locks on a table that the session's own transaction holds, as people write them."""
    rows = connection.execute(
        "SELECT lower(mode) FROM pg_locks WHERE pid = pg_backend_pid() AND granted "
        f"AND locktype = 'relation' AND relation = {oid}"
    )
    return {WORDS[mode] for (mode,) in rows if mode in WORDS}


def modes(connection: psycopg.Connection[Any], lab: Lab, table: str) -> set[str]:
    """The same of a session that is busy, by the table's name."""
    rows = lab.ask(
        f"SELECT lower(mode) FROM pg_locks WHERE pid = {connection.info.backend_pid} AND granted "
        "AND locktype = 'relation' AND relation = (SELECT oid FROM pg_class WHERE "
        f"relname = '{table}' AND relnamespace = 'public'::regnamespace)"
    )
    return {WORDS[str(mode)] for (mode,) in rows if mode in WORDS}


def strongest(found: set[str]) -> str:
    return max(found, key=STRENGTH.index, default="")


def file_of(lab: Lab, table: str) -> list[tuple[object, ...]]:
    return lab.ask(f"SELECT pg_relation_filenode(to_regclass('public.{table}'))")


def test_the_lock_and_the_rewrite_are_the_servers(shop: Lab) -> None:
    for name, claim in CLAIMS.items():
        said = next(f for f in findings(claim.statement) if f.lock)
        assert (said.lock, said.table, said.line) == (claim.lock, claim.table, 1), name
        before = file_of(shop, claim.table)
        oid = shop.ask(f"SELECT 'public.{claim.table}'::regclass::oid")[0][0]
        with shop.session(autocommit=False) as connection:
            connection.execute(claim.statement)
            assert strongest(held(connection, oid)) == said.lock, name
            file = connection.execute(f"SELECT pg_relation_filenode({oid})").fetchall()
            assert file == [(None,)] or (file != before) == claim.rewrites, name
            assert ("rewrites" in str(said.what) or name == "refresh") == claim.rewrites, name
            connection.rollback()


NEEDS_A_PERSON = {"attach"}
"""The bounds in the condition are left to write."""


@pytest.mark.parametrize("name", [n for n, c in CLAIMS.items() if n not in NEEDS_A_PERSON])
def test_the_safer_form_runs_and_holds_less(shop: Lab, name: str) -> None:
    claim = CLAIMS[name]
    shop.ask("DELETE FROM orders WHERE qty < 0")
    for said in findings(claim.statement):
        for number, text in enumerate(said.safer):
            before = file_of(shop, said.table)
            # The new form is itself found harmless, with the earlier ones known.
            migrations = [
                script(f"000{n + 2}_x", s, "SELECT 1", "SELECT 1") for n, s in enumerate(said.safer)
            ]
            again = review([ORDERS, *migrations])[number + 1].findings
            assert [f.lock for f in again if f.blocks is Blocks.EVERYTHING] == [], (text, again)
            if text.startswith("-- lastgood: no transaction") or text.startswith("REINDEX"):
                shop.ask(text)
            else:
                with shop.session(autocommit=False) as connection:
                    connection.execute(text)
                    if "VALIDATE" in text:
                        assert strongest(modes(connection, shop, said.table)) == "SHARE UPDATE EXCLUSIVE"
                    if "REFRESH" in text:
                        assert strongest(modes(connection, shop, said.table)) == "EXCLUSIVE"
                    connection.commit()
            assert file_of(shop, said.table) == before


def test_an_index_built_concurrently_lets_everybody_write(shop: Lab) -> None:
    (said,) = findings("CREATE INDEX i ON orders (qty)")
    with shop.session(autocommit=False) as other, shop.session() as building:
        other.execute("UPDATE orders SET qty = 7 WHERE id = 1")
        work = threading.Thread(target=building.execute, args=(said.safer[0],))
        work.start()
        until(lambda: "SHARE UPDATE EXCLUSIVE" in modes(building, shop, "orders"))
        assert strongest(modes(building, shop, "orders") - {"ROW EXCLUSIVE"}) == "SHARE UPDATE EXCLUSIVE"
        shop.ask("SET lock_timeout = '2s'; UPDATE orders SET qty = 8 WHERE id = 2")
        other.commit()
        work.join()
    assert shop.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]


QUICK = [
    "CREATE TABLE t (id int PRIMARY KEY, c int); CREATE INDEX ON t (c); ALTER TABLE t ADD CHECK (c > 1)",
    "ALTER TABLE orders ADD COLUMN at timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE orders ADD COLUMN a int, ADD COLUMN b text DEFAULT 'x'",
    "ALTER TABLE orders ALTER COLUMN note TYPE varchar(40)",
    "ALTER TABLE orders ALTER COLUMN note TYPE text",
    "ALTER TABLE orders ALTER COLUMN price TYPE numeric(10,2)",
    "ALTER TABLE orders ALTER COLUMN price TYPE numeric",
    "ALTER TABLE orders ALTER COLUMN qty SET DEFAULT 1",
    "ALTER TABLE orders ADD CONSTRAINT c CHECK (qty > 0) NOT VALID",
    "ALTER TABLE orders RENAME CONSTRAINT orders_pkey TO k",
    "DROP INDEX orders_note",
    "UPDATE orders SET qty = 0 WHERE id = 4",
    "CREATE TRIGGER t BEFORE UPDATE ON orders EXECUTE FUNCTION refuse()",
]  # fmt: skip


def test_what_is_quick_is_no_news_and_rewrites_nothing(shop: Lab) -> None:
    before = file_of(shop, "orders")
    for deploy in QUICK:
        assert findings(deploy) == ()
        with shop.session(autocommit=False) as connection:
            connection.execute(deploy)
            now = connection.execute("SELECT pg_relation_filenode('public.orders'::regclass)").fetchall()
            assert now == before, deploy
            connection.rollback()


def test_a_proven_column_is_made_not_null_without_a_look(shop: Lab) -> None:
    safer = findings("ALTER TABLE orders ALTER COLUMN note SET NOT NULL")[0].safer
    scripts = [script(f"000{n}_x", text, "SELECT 1", "SELECT 1") for n, text in enumerate(safer, 2)]
    assert [r.findings for r in review([ORDERS, *scripts])] == [(), (), (), ()]
    for text in safer:
        shop.ask(text)
    # The server says itself that it did not look.
    with shop.session() as connection:
        told: list[str] = []
        connection.add_notice_handler(lambda d: told.append(str(d.message_primary)))
        connection.execute("ALTER TABLE orders ALTER COLUMN note DROP NOT NULL")
        connection.execute(
            "SET client_min_messages = debug1; ALTER TABLE orders ALTER COLUMN note SET NOT NULL"
        )
    assert any("sufficient to prove" in line for line in told)


def test_a_strong_lock_is_not_held_while_something_long_runs() -> None:
    deploy = "ALTER TABLE orders ADD COLUMN x int;\n\nUPDATE orders SET x = qty WHERE x IS NULL;"
    held = [f for f in findings(deploy) if f.lock == STRONG]
    assert [(f.line, f.table, f.safer) for f in held] == [
        (1, "orders", ("UPDATE orders SET x = qty WHERE x IS NULL;",))
    ]
    adding = "ALTER TABLE orders ADD CONSTRAINT c CHECK (qty > 0) NOT VALID"
    assert [f.lock for f in findings(f"{adding}; ALTER TABLE orders VALIDATE CONSTRAINT c")] == [STRONG]


def test_the_way_back_is_read_too() -> None:
    (said,) = findings("DROP INDEX orders_note", "\nCREATE INDEX orders_note ON orders (note);")
    assert (said.script, said.line, said.lock, said.blocks) == ("revert", 2, "SHARE", Blocks.WRITES)
    assert findings("CREATE TABLE t (id int)", "DROP TABLE t") == ()


def test_a_foreign_key_wants_an_index_and_an_enum_another_transaction() -> None:
    deploy = "CREATE TABLE t (id int PRIMARY KEY, o bigint REFERENCES orders)"
    (said,) = findings(deploy)
    assert (said.lock, said.safer) == ("", ("CREATE INDEX t_o_idx ON t (o);",))
    assert findings(f"{deploy}; CREATE INDEX ON t (o, id)") == ()
    (said,) = findings("ALTER TYPE mood ADD VALUE 'x';\nINSERT INTO t VALUES ('x')")
    assert (said.line, said.lock, said.table) == (2, "", "mood")


def test_names_that_need_quotes_and_schemas_stay_as_they_are() -> None:
    (said,) = findings('CREATE INDEX "An Index" ON sales."Orders" ("A" DESC)')
    assert said.table == 'sales."Orders"'
    assert said.safer == (
        '-- lastgood: no transaction\nCREATE INDEX CONCURRENTLY "An Index" ON sales."Orders" ("A" DESC);',
    )


def test_the_class_comes_with_the_line_that_decided_it() -> None:
    seen = reviewed("CREATE TABLE t (id int);\nUPDATE orders SET qty = 1 WHERE id = 1;")
    assert (seen.classification.reversibility.value, seen.line) == ("by snapshot", 2)
    broken = reviewed("SELECT 'never closed")
    assert (broken.classification.reversibility.value, broken.line, broken.findings) == (
        "forward only",
        0,
        (),
    )
