"""Copies for rehearsals on real servers: whole ones without a file, and samples that can live."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.drivers.postgresql import binaries, scratch
from lastgood.drivers.postgresql.binaries import Binaries
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.copying import SAMPLE_ROWS, copy_sample, copy_whole, sample_size
from lastgood.drivers.postgresql.fingerprint import read_listing
from lastgood.drivers.postgresql.scratch import beside
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from lastgood.ports.rehearsing import Journey, Journeys
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab

RICH = Path(__file__).with_name("rich.sql").read_text()
LARGE = """
CREATE TABLE customers (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, boss int REFERENCES customers,
  shout text GENERATED ALWAYS AS (upper(name)) STORED
);
CREATE TABLE "Bought" (
  id int PRIMARY KEY, "by" int NOT NULL REFERENCES customers, again int REFERENCES "Bought"
);
INSERT INTO customers (name, boss)
  SELECT 'c' || n, CASE WHEN n > 1 THEN 1 END FROM generate_series(1, 1500) n;
INSERT INTO "Bought"
  SELECT n, 1501 - n, CASE WHEN n > 501 THEN n - 1 END FROM generate_series(1, 1500) n;
"""
WRITES = Journey("the release", "INSERT INTO customers (name, boss) VALUES ('new', 1);")
MORE = script(
    "0002_more",
    "ALTER TABLE customers ADD COLUMN more text;",
    "SELECT more FROM customers WHERE false;",
    "ALTER TABLE customers DROP COLUMN more;",
)


def server_of(lab: Lab) -> Server:
    return Server(PostgresqlSettings.read({"url": lab.server.url(lab.name)}), lab.tools.vault, lab.name)


def tools_of(server: Server) -> Binaries:
    with server.session() as connection:
        return binaries.find(server, connection.info.server_version // 10000)


def test_a_sample_is_closed_and_writes_go_on_behind_its_numbers(lab: Lab) -> None:
    driver = lab.driver(rehearse_whole=0)
    assert (driver.sample_rows(), lab.driver().sample_rows()) == (SAMPLE_ROWS, 0)
    driver.deploy(ORDERS, KEY)
    lab.ask(LARGE)
    server = server_of(lab)
    tools = tools_of(server)
    with (
        beside(server, lambda made: copy_sample(server, made, tools), sample_size) as copy,
        copy.session() as connection,
    ):
        (customers,) = connection.execute("SELECT count(*) FROM customers").fetchone() or ()
        (bought,) = connection.execute('SELECT count(*) FROM "Bought"').fetchone() or ()
        assert customers == SAMPLE_ROWS
        # Of the first 1000, the first 500 are of customers beyond the sample; the rest hang on each other.
        assert bought == 500
        number = connection.execute("INSERT INTO customers (name) VALUES ('x') RETURNING id").fetchone()
        assert number is not None
        assert number[0] > 1500
        assert connection.execute("SELECT name FROM lastgood.revisions").fetchall() == [(ORDERS.name,)]
    before = driver.fingerprint()
    seen = driver.rehearse_writes(None, [MORE], [ORDERS], Journeys(WRITES, (WRITES,)))
    assert (seen.difference, str(seen.complaint), str(seen.untried)) == ("", "", "")
    assert seen.fingerprint_before == seen.fingerprint_after == before
    assert lab.ask("SELECT count(*) FROM customers") == [(1500,)]


MOVE = script("0001_move", "UPDATE customers SET name = 'x' || name", "SELECT 1", "-- lastgood: undo rows")


def test_what_we_keep_of_rows_is_a_sample_too(lab: Lab) -> None:
    """Rows before and after can be as many as those of all tables; what lists them is whole."""
    lab.ask(LARGE)
    lab.driver().deploy(MOVE, KEY)
    server = server_of(lab)
    tools = tools_of(server)
    ((store,),) = lab.ask("SELECT 'lastgood.undo_' || id FROM lastgood.undo")
    assert lab.ask(f"SELECT count(*) FROM {store}") == [(1500,)]
    with (
        beside(server, lambda made: copy_sample(server, made, tools), sample_size) as copy,
        lab.session(copy.database) as connection,
    ):
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in (store, "lastgood.undo", "lastgood.undo_runs", "lastgood.revisions")
        ]
    assert counts == [(SAMPLE_ROWS,), (1,), (1,), (1,)]


def test_a_sample_has_room_or_is_not_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.ask(
        "CREATE TABLE wide (id int, body text);"
        "ALTER TABLE wide ALTER COLUMN body SET STORAGE EXTERNAL;"
        "INSERT INTO wide SELECT n, repeat('x', 20000) FROM generate_series(1, 3000) n; ANALYZE wide"
    )
    with server_of(lab).session() as connection:
        assert 36 << 20 < sample_size(connection) < 40 << 20
    driver = lab.driver(rehearse_whole=0)
    full = shutil.disk_usage("/")._replace(free=40 << 20)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: full)
    with pytest.raises(Rejected, match=r"needs about 4\d MiB, and 40 MiB are free"):
        driver.rehearse_writes(None, [GIFTS], [], Journeys())
    assert [name for name in lab.databases() if name.startswith("lastgood_scratch_")] == []


def test_a_copy_is_not_open_to_everybody(lab: Lab) -> None:
    role = f"reader_{lab.name}"
    lab.ask(f"CREATE ROLE {role} LOGIN")
    server = server_of(lab)
    with beside(server, lambda made: None) as copy:
        lab.session(user=role).close()
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            lab.session(copy.database, user=role)
        with copy.session() as connection:  # As scripts do that take another role.
            connection.execute(f"SET ROLE {role}; CREATE TEMP TABLE mine (id int)")
    lab.ask(f"DROP ROLE {role}")


@pytest.mark.parametrize("fill", [copy_whole, copy_sample], ids=["whole", "sample"])
def test_a_rich_schema_comes_along(lab: Lab, fill: Callable[[Server, Server, Binaries], None]) -> None:
    names = {"owner": f"owner_{lab.name}", "reader": f"reader_{lab.name}"}
    for name in names.values():
        lab.ask(f"CREATE ROLE {name}")
    lab.ask(RICH.format(**names))
    server = server_of(lab)
    tools = tools_of(server)
    with (
        beside(server, lambda made: fill(server, made, tools)) as copy,
        copy.reading() as there,
        server.reading() as here,
    ):
        assert read_listing(there) == read_listing(here)


def test_what_a_tool_complains_of_is_told_and_nothing_stays(lab: Lab) -> None:
    """pg_dump waits for a lock that somebody holds; pg_restore, which reads from it, only sees an end."""
    lab.ask("CREATE TABLE orders (id int)")
    with lab.session(autocommit=False) as holder:
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Rejected, match="pg_dump failed"):
            lab.driver().rehearse_writes(None, [GIFTS], [], Journeys())
    assert [name for name in lab.databases() if name.startswith("lastgood_scratch_")] == []


def test_the_limit_is_a_whole_number_of_mebibytes(lab: Lab) -> None:
    with pytest.raises(InvalidInput, match="rehearse_whole"):
        lab.driver(rehearse_whole="10 GiB")
