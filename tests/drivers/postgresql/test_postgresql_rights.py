"""The role that the documentation asks for is enough for everything; each right that is missing is named."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.postgresql.driver import PostgresqlDriver
from lastgood.ports.rehearsing import Journeys
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab

ROOT = Path(__file__).parents[3]
CALL = script("0003_call", "UPDATE orders SET note = 'called';", "SELECT 1;", "-- lastgood: undo rows\n")
SPOIL = script("0004_spoil", "UPDATE orders SET note = 'spoilt';", "SELECT 1;", "SELECT 1;")
QUERY = Signal("orders", SignalKind.GAUGE, "postgresql", {"query": "SELECT count(*) FROM orders"})


def statements(lab: Lab, role: str) -> list[str]:
    """What the page says for the role, with this test's database and role; the server has its settings."""
    page = (ROOT / "docs" / "databases.md").read_text()
    block = page.partition("## What the server needs")[2].partition("```sql\n")[2].partition("```")[0]
    text = block.replace("ON DATABASE shop", f"ON DATABASE {lab.name}").replace(" app", f" {role}")
    found = [statement.strip() for statement in text.split(";") if role in statement]
    assert len(found) == 3, "the page says what the role needs"
    return found


@pytest.fixture
def role(lab: Lab) -> Iterator[str]:
    """Its name; it owns the database."""
    name = f"app_{lab.name}"
    lab.ask(f"CREATE ROLE {name} LOGIN")
    for statement in statements(lab, name):
        lab.ask(statement)
    lab.ask(f"ALTER DATABASE {lab.name} OWNER TO {name}")
    yield name
    for slot, database in lab.ask("SELECT slot_name, database FROM pg_replication_slots"):
        if str(database).startswith(lab.name):
            lab.ask(f"SELECT pg_drop_replication_slot('{slot}')")


@pytest.fixture
def driver(lab: Lab, role: str) -> PostgresqlDriver:
    """Of that role, with a table and an order."""
    made = lab.driver(url=lab.server.url(lab.name, role))
    made.deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders VALUES (1, 'one')")
    return made


def test_the_documented_role_is_enough(lab: Lab, role: str, driver: PostgresqlDriver) -> None:
    driver.deploy(GIFTS, KEY)
    lab.ask("UPDATE orders SET gift = 'ring'")
    assert driver.revert(GIFTS, KEY) == {"orders.gift": 1}
    driver.deploy(CALL, KEY)
    driver.revert(CALL, KEY)
    assert lab.ask("SELECT note FROM orders") == [("one",)]
    taken = driver.snapshot("one")
    assert driver.prove(taken).proven_at is not None
    assert driver.rehearse(taken, [GIFTS], [ORDERS]).difference == ""
    assert driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys()).difference == ""
    assert driver.bundle_database(taken, [], [ORDERS]).size == taken.size
    assert driver.read(QUERY, driver.begin(QUERY)).value == 1.0
    assert driver.free_connections() > 0
    assert driver.observe().facts["migrations"] == [ORDERS.name]
    assert len(driver.evidence()) > 1
    assert driver.capture_obstacle() is None
    cut = driver.capture("two")
    driver.deploy(SPOIL, KEY)
    lab.ask("INSERT INTO orders VALUES (2, 'two')")
    assert driver.writes_since(cut, ()).complete
    driver.refuse_restore(cut, ())
    driver.prepare_copy(cut, "back")
    driver.carry_over(cut, "back", ())
    # A customer's session, which has to be ended.
    lab.ask(f"CREATE ROLE client_{lab.name} LOGIN")
    with contextlib.closing(lab.session(user=f"client_{lab.name}")):
        driver.swap(cut, "back", ())
    assert lab.ask("SELECT note FROM orders ORDER BY id") == [("one",), ("two",)]


def refused(act: Callable[[], object], right: str) -> None:
    """``act`` is refused for want of ``right``, which is named."""
    with pytest.raises(Rejected) as caught:
        act()
    assert caught.value.cause is Cause.PERMISSION, str(caught.value)
    assert right in f"{caught.value} {caught.value.todo}"


def test_without_createdb_no_copy_is_made(lab: Lab, role: str, driver: PostgresqlDriver) -> None:
    cut = driver.capture("one")
    lab.ask(f"ALTER ROLE {role} NOCREATEDB")
    refused(lambda: driver.prove(cut), "CREATEDB")
    refused(lambda: driver.rehearse(cut, [GIFTS], [ORDERS]), "CREATEDB")
    refused(lambda: driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys()), "CREATEDB")
    refused(lambda: driver.refuse_restore(cut, ()), "CREATEDB")


def test_without_replication_nothing_is_captured(lab: Lab, role: str, driver: PostgresqlDriver) -> None:
    cut = driver.capture("one")
    lab.ask(f"ALTER ROLE {role} NOREPLICATION")
    refused(lambda: driver.refuse_restore(cut, ()), "REPLICATION")
    refused(lambda: driver.capture("two"), f"ALTER ROLE {role} REPLICATION")
    lab.ask(f"ALTER ROLE {role} REPLICATION; REVOKE pg_signal_backend FROM {role}")
    refused(lambda: driver.refuse_restore(cut, ()), "pg_signal_backend")


def test_without_create_on_the_database_there_is_no_first_migration(lab: Lab, role: str) -> None:
    lab.ask(f"ALTER DATABASE {lab.name} OWNER TO postgres; REVOKE CREATE ON DATABASE {lab.name} FROM {role}")
    driver = lab.driver(url=lab.server.url(lab.name, role))
    refused(lambda: driver.deploy(ORDERS, KEY), "CREATE on database")
    refused(lambda: driver.capture("one"), f"GRANT CREATE ON DATABASE {lab.name} TO {role}")


def test_without_ownership_tables_are_not_changed_recorded_or_carried_over(
    lab: Lab, role: str, driver: PostgresqlDriver
) -> None:
    cut = driver.capture("one")
    lab.ask(f"ALTER TABLE orders OWNER TO postgres; GRANT SELECT, UPDATE ON orders TO {role}")
    refused(lambda: driver.deploy(GIFTS, KEY), "owner of table orders")
    refused(lambda: driver.deploy(CALL, KEY), "owner of table orders")
    refused(lambda: driver.refuse_restore(cut, ()), "membership in postgres")


def test_without_select_nothing_is_dumped_counted_or_measured(
    lab: Lab, role: str, driver: PostgresqlDriver
) -> None:
    lab.ask(f"ALTER TABLE orders OWNER TO postgres; REVOKE ALL ON orders FROM {role}")
    refused(lambda: driver.snapshot("one"), "orders")
    reading = driver.read(QUERY, driver.begin(QUERY))
    assert reading.value is None
    assert "permission denied for table orders" in reading.error
    lab.ask(f"GRANT SELECT ON orders TO {role}; CREATE SEQUENCE numbers")
    refused(lambda: driver.snapshot("one"), "numbers")
    lab.ask(f"GRANT SELECT ON SEQUENCE numbers TO {role}; ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    with pytest.raises(Rejected, match="row-level security"):
        driver.snapshot("one")
    lab.ask("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    assert driver.snapshot("one").size > 0
