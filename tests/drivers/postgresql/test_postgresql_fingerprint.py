"""The schema's fingerprint: what changes it, what doesn't, and how a difference is told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import (
    Listing,
    difference,
    fingerprint,
    from_plain,
    in_order,
    read_listing,
    settled,
    to_plain,
)
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from tests.drivers.postgresql.conftest import Lab, Tools, run

RICH = Path(__file__).with_name("rich.sql").read_text()


def listing(lab: Lab) -> Listing:
    server = Server(PostgresqlSettings.read({"url": lab.server.url(lab.name)}), lab.tools.vault, lab.name)
    with server.reading() as connection:
        return read_listing(connection)


@pytest.fixture
def rich(lab: Lab) -> Lab:
    names = {"owner": f"owner_{lab.name}", "reader": f"reader_{lab.name}"}
    for name in names.values():
        lab.ask(f"CREATE ROLE {name}")
    lab.ask(RICH.format(**names))
    return lab


def test_it_survives_dump_and_load(rich: Lab) -> None:
    driver = rich.driver()
    taken = driver.snapshot("rich")
    assert driver.prove(taken).proven_at is not None


def test_everything_in_it_counts(rich: Lab) -> None:
    kinds = {kind for kind, _ in listing(rich)}
    assert kinds == {
        "schema", "table", "partitioned table", "view", "materialized view", "column", "column order",
        "constraint", "index", "sequence", "function", "procedure", "aggregate", "trigger", "rule", "type",
        "domain", "policy", "extension", "statistics", "publication", "default grants", "comment",
    }  # fmt: skip
    before, seen = listing(rich), set()
    for change, line in CHANGES.items():
        rich.ask(change.format(reader=f"reader_{rich.name}"))
        after = listing(rich)
        told = difference(before, after)
        assert line in told, f"{change}: {told}"
        seen.add(fingerprint(after))
        before = after
    assert len(seen) == len(CHANGES)


CHANGES = {
    "ALTER TABLE fast ADD COLUMN gift text": "column fast.gift was not removed",
    "ALTER TABLE fast DROP COLUMN gift": "column fast.gift was not brought back",
    "ALTER TABLE sales.customers ALTER feeling SET DEFAULT 'sad'": "column sales.customers.feeling is diff",
    "ALTER TABLE sales.customers ALTER name DROP NOT NULL": "column sales.customers.name is different",
    'ALTER TABLE "Odd Name" DROP CONSTRAINT not_yet': "constraint Odd Name.not_yet was not brought back",
    "DROP INDEX sales.by_lower": "index sales.by_lower was not brought back",
    "ALTER SEQUENCE tickets CACHE 7": "sequence tickets is different",
    "ALTER TYPE mood ADD VALUE 'wild'": "type mood is different",
    "ALTER DOMAIN positive DROP NOT NULL": "domain positive is different",
    "ALTER FUNCTION twice STRICT": "function twice",
    "ALTER TABLE sales.customers ENABLE TRIGGER touched": "trigger sales.customers.touched is different",
    "ALTER POLICY own ON sales.customers USING (true)": "policy sales.customers.own is different",
    "ALTER TABLE sales.customers DISABLE ROW LEVEL SECURITY": "table sales.customers is different",
    "REVOKE UPDATE (name) ON sales.customers FROM {reader}": "column sales.customers.name is different",
    "GRANT INSERT ON fast TO {reader}": "table fast is different",
    "ALTER TABLE fast OWNER TO {reader}": "table fast is different",
    "DROP EXTENSION hstore CASCADE": "extension hstore was not brought back",
    "ALTER TABLE events DETACH PARTITION events_old": "table events_old is different",
    "COMMENT ON TABLE sales.customers IS NULL": "comment sales.customers was not brought back",
    "DROP PUBLICATION feed": "publication feed was not brought back",
    "CREATE TABLE brand (id int PRIMARY KEY, name text)": "table brand was not removed",
}


def test_what_is_not_schema_does_not_count(rich: Lab) -> None:
    before = listing(rich)
    rich.ask(
        "SELECT nextval('tickets'); INSERT INTO fast VALUES (1); ANALYZE; REFRESH MATERIALIZED VIEW totals"
    )
    rich.ask("CREATE TEMP TABLE passing (id int)")
    rich.ask("ALTER TABLE fast ADD COLUMN gift text; ALTER TABLE fast DROP COLUMN gift")
    rich.ask("VACUUM FULL fast")
    after = listing(rich)
    assert difference(before, after) == ""
    assert after == before == from_plain(to_plain(before))


def test_the_order_of_columns_counts(lab: Lab) -> None:
    lab.ask("CREATE TABLE t (a int, b int)")
    before = listing(lab)
    lab.ask("ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD COLUMN a int")
    assert difference(before, listing(lab)) == "column order t is different: it was 'a, b', and is 'b, a'"


def test_a_new_table_is_named_without_its_parts(lab: Lab) -> None:
    before = listing(lab)
    lab.ask("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b int UNIQUE CHECK (b > 0))")
    assert difference(before, listing(lab)) == "table t was not removed"
    assert difference(listing(lab), before) == "table t was not brought back"


@pytest.mark.parametrize(
    ("fresh", "loaded"),
    [
        ("((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
         "((s)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text]))"),
        ("(ARRAY['a,]'::character varying(3), f(x, 1)])::text[]", 
         "ARRAY[('a,]'::character varying(3))::text, (f(x, 1))::text]"),
        ("ARRAY[1, 2]", "ARRAY[1, 2]"),
        ("(ARRAY[1, 2])", "(ARRAY[1, 2])"),
        ("(ARRAY[", "(ARRAY["),
    ],
)  # fmt: skip
def test_expressions_that_a_dump_rewrites_are_settled(fresh: str, loaded: str) -> None:
    assert settled(fresh) == settled(loaded) == loaded


@pytest.fixture(scope="module")
def playground() -> Iterator[tuple[Lab, Listing]]:
    """A database to play in, and its schema at rest."""
    directory = Path(tempfile.mkdtemp())
    for server in run("wheel"):
        lab = Lab(server, "playground", Tools(directory))
        lab.ask("CREATE DATABASE playground", name="postgres")
        lab.ask(
            "CREATE TABLE base (id int PRIMARY KEY, a text, b varchar(9), c numeric(8,2));"
            "CREATE TYPE size AS ENUM ('s', 'm')"
        )
        yield lab, listing(lab)
    shutil.rmtree(directory)


NAMES = st.sampled_from(["x", "Y", "a b", "größe", "select"]).map(lambda name: f'"{name}"')
TYPES = st.sampled_from(
    ["int", "text NOT NULL DEFAULT 'x''y'", "varchar(5) COLLATE \"C\"", "numeric(7,3) DEFAULT 1.5", "size",
     "timestamptz DEFAULT now()", "bigint GENERATED BY DEFAULT AS IDENTITY", "text[] DEFAULT ARRAY['a']",
     "int GENERATED ALWAYS AS (1 + 1) STORED"]
)  # fmt: skip
PAIRS = st.one_of(
    st.builds(lambda n, t: (f"ALTER TABLE base ADD {n} {t}", f"ALTER TABLE base DROP {n}"), NAMES, TYPES),
    st.builds(lambda n, t: (f"CREATE TABLE {n} (k {t})", f"DROP TABLE {n}"), NAMES, TYPES),
    st.builds(lambda n: (f"CREATE INDEX {n} ON base (lower(a), id)", f"DROP INDEX {n}"), NAMES),
    st.builds(
        lambda n: (
            f"ALTER TABLE base ADD CONSTRAINT {n} CHECK (b IN ('p', 'q'))",
            f"ALTER TABLE base DROP CONSTRAINT {n}",
        ),
        NAMES,
    ),
    st.builds(lambda n: (f"CREATE VIEW {n} AS SELECT * FROM base", f"DROP VIEW {n}"), NAMES),
    st.builds(lambda n: (f"CREATE SCHEMA {n} CREATE TABLE t (i int)", f"DROP SCHEMA {n} CASCADE"), NAMES),
    st.builds(lambda n: (f"CREATE SEQUENCE {n} CACHE 3", f"DROP SEQUENCE {n}"), NAMES),
    st.just(("ALTER TABLE base ALTER a SET NOT NULL", "ALTER TABLE base ALTER a DROP NOT NULL")),
    st.just(("ALTER TABLE base RENAME a TO renamed", "ALTER TABLE base RENAME renamed TO a")),
    st.just(("ALTER TABLE base ALTER c SET DEFAULT 3", "ALTER TABLE base ALTER c DROP DEFAULT")),
    st.just(("GRANT SELECT ON base TO PUBLIC", "REVOKE SELECT ON base FROM PUBLIC")),
    st.just(("COMMENT ON TABLE base IS 'x'", "COMMENT ON TABLE base IS NULL")),
)


SCRIPTS = st.lists(
    PAIRS, min_size=1, max_size=5, unique_by=(lambda pair: pair[0], lambda pair: pair[1].split(" ", 1)[1])
)


@given(pairs=SCRIPTS)
@settings(max_examples=40)
def test_there_and_back_is_the_same(playground: tuple[Lab, Listing], pairs: list[tuple[str, str]]) -> None:
    done: list[str] = []
    lab, before = playground
    with lab.session() as connection:
        for deploy, revert in pairs:
            try:
                connection.execute(deploy)
            except connection.ProgrammingError:
                continue
            done.append(revert)
        middle = listing(lab)
        for revert in reversed(done):
            connection.execute(revert)
    after = listing(lab)
    assert difference(before, after) == ""
    assert after == before
    assert (middle != before) == bool(done)


def test_a_column_that_is_added_again_comes_last_and_nothing_else_may(lab: Lab) -> None:
    lab.ask('CREATE TABLE t (a int, "b, c" int, d int, e int)')
    before = listing(lab)
    lab.ask('ALTER TABLE t DROP COLUMN "b, c", DROP COLUMN a')
    gone = listing(lab)
    lab.ask('ALTER TABLE t ADD COLUMN "b, c" int, ADD COLUMN a int')
    after = listing(lab)
    assert after != before
    assert in_order(before, [before, gone], after) == before
    assert in_order(before, [before, before], after) == after, "they never were away"
    lab.ask("ALTER TABLE t DROP COLUMN d; ALTER TABLE t ADD COLUMN d int")
    moved = listing(lab)
    assert in_order(before, [before, gone], moved) == moved, "this one was there all the time"
