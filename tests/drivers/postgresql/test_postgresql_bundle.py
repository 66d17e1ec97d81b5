"""A database is taken back by hand from a restore bundle, without lastgood and without Python."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from lastgood.domain.errors import Rejected
from lastgood.store.vault import AgeVault
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS
from tests.drivers.bundled import lay_out, only, run
from tests.drivers.postgresql.conftest import Lab

ROWS = [(n, f"note {n}") for n in range(1, 101)]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "apart" / "seal.key"


@pytest.fixture
def shop(lab: Lab, key: Path) -> Lab:
    """With the vault of the product, a hundred orders, and numbers that were handed out."""
    vault = AgeVault(lab.tools.directory / "secrets", key)
    made = replace(lab, tools=replace(lab.tools, vault=vault))
    made.driver().deploy(ORDERS, KEY)
    made.ask("INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 100) n")
    made.ask("CREATE SEQUENCE invoice; SELECT nextval('invoice')")
    return made


def test_a_copy_is_loaded_compared_and_swapped_in(shop: Lab, key: Path, tmp_path: Path) -> None:
    shop.ask(f'ALTER DATABASE {shop.name} SET search_path = "$user", public, sales')
    shop.ask(f"GRANT TEMPORARY ON DATABASE {shop.name} TO pg_monitor")
    shop.ask(f"REVOKE CONNECT ON DATABASE {shop.name} FROM PUBLIC")
    shop.ask(f"COMMENT ON DATABASE {shop.name} IS 'the shop''s'")
    taken = shop.driver().snapshot("before")
    part = shop.driver().bundle_database(taken, [GIFTS], [GIFTS, ORDERS])
    bundle = lay_out(part, tmp_path / "bundle")
    found = {"psql": shop.server.binaries, "pg_restore": shop.server.binaries}
    path = only(tmp_path / "bin", part, found)
    assert all(b"note 1" not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    # What a migration did wrong, and what customers wrote since.
    shop.ask("UPDATE orders SET note = 'broken'; INSERT INTO orders VALUES (101, 'new'), (102, 'new')")
    shop.ask("SELECT nextval('invoice') FROM generate_series(1, 50)")

    refused = run(bundle, path)
    assert refused.returncode == 1
    assert "LASTGOOD_KEY_FILE" in refused.stderr
    loaded = run(bundle, path, key=key)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert "every table has the rows it had at the cut" in loaded.stdout
    assert "public.orders: 100 at the cut, 102 now" in loaded.stdout
    assert "At least 2 rows differ" in loaded.stdout
    assert "CREATE DATABASE" in loaded.stdout
    copy = re.search(r"\./restore\.sh swap (\S+)", loaded.stdout)
    assert copy is not None
    # Nothing has happened to the live one, and somebody is in it.
    assert shop.ask("SELECT count(*) FROM orders WHERE note = 'broken'") == [(100,)]
    with shop.session() as customer:
        swapped = run(bundle, path, "swap", copy[1])
        assert swapped.returncode == 0, swapped.stdout + swapped.stderr
        assert customer.closed or customer.broken or _cut_off(customer)
    assert shop.ask("SELECT id, note FROM orders ORDER BY id") == ROWS
    assert shop.ask("SELECT name FROM lastgood.revisions ORDER BY seq") == [(ORDERS.name,), (GIFTS.name,)]
    assert [m.name for m in (ORDERS, GIFTS)] == [name for name, _ in shop.driver().applied()]
    assert shop.ask("SELECT nextval('invoice') > 51") == [(True,)]
    assert shop.ask("SHOW search_path") == [('"$user", public, sales',)]
    assert shop.ask(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    ) == [("the shop's",)]
    (failed,) = [name for name in shop.databases() if "_failed_" in name]
    with shop.session(failed) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(102,)]
    rights = (
        "SELECT a.grantee, a.privilege_type FROM pg_database d, aclexplode(d.datacl) a "
        "WHERE datname = '{}' ORDER BY 1, 2"
    )
    assert shop.ask(rights.format(shop.name)) == shop.ask(rights.format(failed))
    assert failed in swapped.stdout


def _cut_off(customer: object) -> bool:
    import psycopg

    assert isinstance(customer, psycopg.Connection)
    with pytest.raises(psycopg.OperationalError):
        customer.execute("SELECT 1")
    return True


def test_a_reverse_script_keeps_what_was_written_since(shop: Lab, tmp_path: Path) -> None:
    shop.driver().deploy(GIFTS, KEY)
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [GIFTS, ORDERS])
    bundle = lay_out(part, tmp_path / "bundle")
    path = only(tmp_path / "bin", part, {"psql": shop.server.binaries, "pg_restore": shop.server.binaries})
    shop.ask("INSERT INTO orders VALUES (101, 'new')")
    done = run(bundle, path, "revert", GIFTS.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shop.ask("SELECT count(*) FROM orders") == [(101,)]
    assert [name for name, _ in shop.driver().applied()] == [ORDERS.name]
    assert run(bundle, path, "revert", "../restore").returncode == 1


def test_what_is_damaged_or_not_whole_is_refused(shop: Lab, key: Path, tmp_path: Path) -> None:
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [])
    bundle = lay_out(part, tmp_path / "bundle")
    path = only(tmp_path / "bin", part, {"psql": shop.server.binaries, "pg_restore": shop.server.binaries})
    shop.ask(f"CREATE DATABASE {shop.name}_half", name="postgres")
    half = run(bundle, path, "swap", f"{shop.name}_half")
    assert half.returncode == 1
    assert "was not loaded whole" in half.stderr
    lost = AgeVault(tmp_path / "since", tmp_path / "new" / "seal.key")
    lost.seal("a", "b")
    since = replace(shop, tools=replace(shop.tools, vault=lost)).driver()
    with pytest.raises(Rejected, match="missing or damaged"):
        since.bundle_database(shop.driver().snapshot("one"), [], [])
    other = tmp_path / "other.key"
    subprocess.run(["age-keygen", "-o", str(other)], check=True, capture_output=True)
    wrong = run(bundle, path, key=other)
    assert wrong.returncode == 1
    assert "the key does not open the dump" in wrong.stderr
    with (bundle / "count.sql").open("a") as file:
        file.write("-- somebody was here\n")
    damaged = run(bundle, path, key=key)
    assert damaged.returncode == 1
    assert "files are damaged" in damaged.stderr
    assert shop.ask("SELECT count(*) FROM orders") == [(100,)]


def test_what_does_not_load_is_not_taken_for_a_wrong_key(shop: Lab, key: Path, tmp_path: Path) -> None:
    """The server's tool ends early, and what opens the dump then has nobody to write to."""
    owner = f"gone_{shop.name}"
    shop.ask("CREATE TABLE owned AS SELECT md5(n::text) FROM generate_series(1, 30000) n")
    shop.ask(f"CREATE ROLE {owner}; ALTER TABLE owned OWNER TO {owner}")
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [])
    shop.ask(f"ALTER TABLE owned OWNER TO CURRENT_USER; DROP ROLE {owner}")
    bundle = lay_out(part, tmp_path / "bundle")
    path = only(tmp_path / "bin", part, {"psql": shop.server.binaries, "pg_restore": shop.server.binaries})
    loaded = run(bundle, path, key=key)
    assert loaded.returncode == 1
    assert owner in loaded.stderr
    assert "it does not load" in loaded.stderr
    assert "the key does not open the dump" not in loaded.stderr


@pytest.mark.parametrize("server", ["debian"], indirect=True, scope="session")
def test_names_are_taken_as_they_are(lab: Lab, key: Path, tmp_path: Path) -> None:
    name = f"{lab.name} it's a=b $HOME `id` %s"
    lab.ask(f'CREATE DATABASE "{name}"')
    tools = replace(lab.tools, vault=AgeVault(tmp_path / "secrets", key))
    shop = replace(lab, name=quote(name, safe=""), tools=tools)
    shop.ask('CREATE SCHEMA "S.1"; CREATE TABLE "S.1"."t.2" (id serial)')
    shop.ask("""CREATE TABLE "or'd ""x"" \\ $HOME :live" AS SELECT 1 AS id""")
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [])
    bundle = lay_out(part, tmp_path / "bundle")
    path = only(tmp_path / "bin", part, {"psql": lab.server.binaries, "pg_restore": lab.server.binaries})
    shop.ask('INSERT INTO "S.1"."t.2" DEFAULT VALUES')
    loaded = run(bundle, path, key=key)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    copy = re.search(r"\./restore\.sh swap (\w+)$", loaded.stdout, re.MULTILINE)
    assert copy is not None
    swapped = run(bundle, path, "swap", copy[1])
    assert swapped.returncode == 0, swapped.stdout + swapped.stderr
    assert shop.ask('SELECT count(*) FROM "S.1"."t.2"') == [(0,)]
