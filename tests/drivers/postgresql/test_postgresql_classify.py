"""Which statements can be undone how."""

from __future__ import annotations

import pytest

from lastgood.domain.plan import Reversibility
from lastgood.drivers.postgresql.classify import classify
from lastgood.testing.conformance_migrates import GIFTS, ORDERS, script

EXACT = [
    "CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now())",
    "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2)",
    "CREATE TABLE copy AS SELECT * FROM t",
    "ALTER TABLE t ADD COLUMN a int, ADD COLUMN b text NOT NULL DEFAULT ''",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE t VALIDATE CONSTRAINT c",
    "ALTER TABLE t ADD CHECK (a > 0), ADD CONSTRAINT k UNIQUE USING INDEX k",
    "ALTER TABLE t ADD PRIMARY KEY USING INDEX k",
    "ALTER TABLE t ADD EXCLUDE USING gist (a WITH =)",
    "ALTER TABLE t ATTACH PARTITION p FOR VALUES FROM (1) TO (2)",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT 3",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t RENAME TO u",
    "CREATE UNIQUE INDEX i ON t (lower(a)) WHERE b",
    "CREATE OR REPLACE VIEW v AS SELECT 1 AS one",
    "CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM t",
    "CREATE TYPE mood AS ENUM ('a')",
    "CREATE DOMAIN d AS text CHECK (value <> '')",
    "CREATE SCHEMA s; CREATE SEQUENCE s.q",
    "CREATE EXTENSION IF NOT EXISTS pgcrypto",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t; RETURN 1; END $$",
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE POLICY p ON t USING (true)",
    "GRANT SELECT ON t TO somebody",
    "COMMENT ON TABLE t IS 'x'",
    "SET search_path = public",
    "SELECT count(*) FROM t",
    "ALTER TABLE t ADD COLUMN a int DEFAULT 1 NOT NULL; ALTER TABLE t ALTER COLUMN a DROP DEFAULT",
    'ALTER TABLE t ALTER "a" DROP DEFAULT, ALTER b DROP DEFAULT, ADD c int',
    'SET CONSTRAINTS "c" IMMEDIATE',
    "BEGIN; CREATE TABLE t (id int); COMMIT",
    "start transaction;\nCREATE TABLE t (id int);\n-- done\nend work; -- really",
]
BY_SNAPSHOT = [
    "DROP TABLE t",
    "DROP SCHEMA s CASCADE",
    "DROP VIEW v",
    "DROP INDEX i",
    "DROP FUNCTION f()",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t ADD COLUMN a int, DROP COLUMN b",
    "ALTER TABLE t DROP CONSTRAINT c",
    "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    "ALTER TABLE t ALTER COLUMN a TYPE bigint USING a::bigint",
    "ALTER TABLE t ALTER COLUMN a DROP NOT NULL",
    "ALTER TABLE t ALTER a DROP DEFAULT, ALTER b DROP NOT NULL",
    'ALTER TABLE t ALTER a DROP DEFAULT, DROP "b"',
    "ALTER TABLE t ALTER a DROP DEFAULT, DROP CONSTRAINT c",
    "BEGIN; UPDATE t SET a = 1; COMMIT",
    "TRUNCATE t",
    "DELETE FROM t",
    "UPDATE t SET a = 1 WHERE b",
    "INSERT INTO t VALUES (1)",
    "CREATE TABLE IF NOT EXISTS t (id int); INSERT INTO t VALUES (1)",
    "CREATE TABLE t (id int); WITH d AS (DELETE FROM other RETURNING id) INSERT INTO t SELECT id FROM d",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
    "CREATE TABLE gone AS WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
    "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
]
FORWARD_ONLY = [
    "DO $$ BEGIN DELETE FROM t; END $$",
    "CALL tidy_up()",
    "SELECT tidy_up()",
    "SELECT setval('s', 1)",
    "CREATE TABLE x AS SELECT tidy_up()",
    "ALTER TYPE mood ADD VALUE 'b'",
    "ALTER TABLE t VALIDATE CONSTRAINT c, DROP COLUMN a",
    "ALTER TABLE t ADD EXCLUDE USING gist (a WITH =), DROP COLUMN b",
    "COPY t FROM '/tmp/x'",
    "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
    "CREATE TABEL t (id int)",
    "SELECT 'never closed",
    "ALTER SYSTEM SET fsync = off",
    "BEGIN; CREATE TABLE t (id int); COMMIT; CREATE TABLE u (id int)",
    "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE t (id int); COMMIT",
    "BEGIN; CREATE TABLE t (id int); ROLLBACK",
    "BEGIN; CREATE TABLE t (id int)",
    "ALTER TABLE t ALTER a DROP IDENTITY",
    "ALTER TABLE t ALTER a DROP EXPRESSION",
]


@pytest.mark.parametrize(
    ("deploy", "wanted"),
    [
        *((text, Reversibility.EXACT) for text in EXACT),
        *((text, Reversibility.BY_SNAPSHOT) for text in BY_SNAPSHOT),
        *((text, Reversibility.FORWARD_ONLY) for text in FORWARD_ONLY),
    ],
)
def test_a_statement(deploy: str, wanted: Reversibility) -> None:
    seen = classify(script("0001_x", deploy, "SELECT 1", "SELECT 1"))
    assert seen.reversibility is wanted, seen
    assert seen.reason


def test_the_first_statement_of_the_worst_class_is_told() -> None:
    text = "CREATE TABLE a (i int);\nUPDATE b SET c = 1;\nDO $$ BEGIN END $$;\nDROP TABLE d;\nCALL e();"
    seen = classify(script("0001_x", text, "SELECT 1", "SELECT 1"))
    assert (seen.reversibility, seen.statement) == (Reversibility.FORWARD_ONLY, "DO $$ BEGIN END $$")


def test_without_a_revert_there_is_only_forward() -> None:
    seen = classify(script("0001_x", ORDERS.deploy, ORDERS.verify, "-- later\n"))
    assert (seen.reversibility, seen.reason) == (Reversibility.FORWARD_ONLY, "revert.sql is empty")


def test_migrations_as_people_write_them() -> None:
    assert classify(ORDERS).reversibility is classify(GIFTS).reversibility is Reversibility.EXACT
    assert classify(script("0001_x", "-- nothing", "", "")).reversibility is Reversibility.EXACT
