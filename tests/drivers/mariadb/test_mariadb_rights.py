"""The smallest role does everything; what is missing is named. Snapshots while the shop writes."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.mariadb import snapshot as snapshots
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.mariadb.conftest import Lab

ROOT = Path(__file__).parents[3]
VIEW = script(
    "0003_view",
    "CREATE SQL SECURITY INVOKER VIEW noted AS SELECT note FROM orders;\n"
    "CREATE TRIGGER short BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = LEFT(NEW.note, 9);",
    "SELECT note FROM noted WHERE false;",
    "DROP TRIGGER short; DROP VIEW noted;",
)


def grants(lab: Lab) -> list[str]:
    """What the documentation says, for this test's database and user."""
    page = (ROOT / "docs" / "databases.md").read_text()
    block = page.partition("<!-- mariadb-role -->")[2].partition("```sql\n")[2].partition("```")[0]
    assert "GRANT" in block
    text = block.replace("`shop`", f"`{lab.name}`").replace("'lastgood'@'%'", "'deployer'@'127.0.0.1'")
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@pytest.fixture
def role(lab: Lab) -> Iterator[Lab]:
    for statement in grants(lab):
        if "CREATE USER" not in statement:
            lab.ask(statement)
        else:
            lab.ask("CREATE OR REPLACE USER 'deployer'@'127.0.0.1'")
    lab.ask("SET GLOBAL log_bin_trust_function_creators = ON")
    yield lab
    lab.ask("SET GLOBAL log_bin_trust_function_creators = OFF")
    lab.ask("DROP USER 'deployer'@'127.0.0.1'")


def test_the_documented_role_is_enough_and_each_right_is_needed(role: Lab) -> None:
    driver = role.driver(url=role.server.url(role.name, "deployer"))
    for migration in (ORDERS, GIFTS, VIEW):
        driver.deploy(migration, KEY)
    role.ask("INSERT INTO orders VALUES (1, 'a', NULL)")
    taken = driver.snapshot("one")
    assert driver.prove(taken).proven_at is not None
    more = script("0004_more", "CREATE TABLE more (id integer);", "SELECT id FROM more;", "DROP TABLE more;")
    assert driver.rehearse(taken, [more], [ORDERS]).difference == ""
    holder = role.session()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orders")
        with pytest.raises(Rejected, match=f"id {holder.thread_id()} "):
            driver.revert(VIEW, KEY)
    holder.close()
    driver.revert(VIEW, KEY)
    assert driver.free_connections() > 0
    names = {item.name for item in driver.evidence()}
    assert {"mariadb-activity.json", "mariadb-transactions.json", "mariadb-revisions.json"} <= names
    assert driver.observe().facts["migrations"] == [ORDERS.name, GIFTS.name]
    role.ask(f"REVOKE ALTER ON `{role.name}`.* FROM 'deployer'@'127.0.0.1'")
    wide = script("0004_wide", "ALTER TABLE orders ADD COLUMN wide integer", "", "SELECT 1")
    with pytest.raises(Rejected) as caught:
        driver.deploy(wide, KEY)
    assert caught.value.cause is Cause.PERMISSION
    assert f"ALTER on `{role.name}`.`orders`" in str(caught.value.todo)
    role.ask(f"REVOKE CREATE ON `{role.name}`.* FROM 'deployer'@'127.0.0.1'")
    with pytest.raises(Rejected) as second:
        driver.deploy(more, KEY)
    assert f"CREATE on `{role.name}`.`more`" in str(second.value.todo)
    role.ask("REVOKE ALL ON `lastgood\\_scratch\\_%`.* FROM 'deployer'@'127.0.0.1'")
    with pytest.raises(Rejected) as third:
        driver.prove(taken)
    assert third.value.cause is Cause.PERMISSION
    assert "lastgood_scratch" in str(third.value)


@pytest.mark.parametrize("tries", [5, 0], ids=["between-writes", "writes-stopped"])
def test_a_snapshot_under_writes_is_of_one_moment(
    lab: Lab, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "TRIES", tries)
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    over = threading.Event()

    def write() -> None:
        session = lab.session()
        number = 0
        while not over.is_set():
            number += 1
            with session.cursor() as cursor:
                cursor.execute("INSERT INTO orders VALUES (%s, 'x')", (number,))
        session.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not lab.ask("SELECT 1 FROM orders LIMIT 1"):
            pass
        taken = driver.snapshot(f"under-{tries}")
    finally:
        over.set()
        writer.join()
    file, _, position = taken.cut.partition(":")
    assert file.startswith("binlog.")
    assert int(position) > 0
    assert driver.prove(taken).proven_at is not None


def test_a_copy_whose_trigger_would_reach_the_live_database_is_refused(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    lab.ask("CREATE TABLE seen (id integer)")
    lab.ask(
        "CREATE TRIGGER spill AFTER INSERT ON orders FOR EACH ROW "
        f"INSERT INTO {lab.name}.seen VALUES (NEW.id)"
    )
    taken = driver.snapshot("one")
    with pytest.raises(Rejected, match="trigger spill names its database"):
        driver.prove(taken)
    with pytest.raises(Rejected, match="trigger spill names its database"):
        driver.rehearse(taken, [GIFTS], [ORDERS])


def test_events_are_kept_beside_the_dump_and_do_not_run_in_a_copy(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    lab.ask("CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders")
    taken = driver.snapshot("one")
    clear = io.BytesIO()
    with Path(taken.path).open("rb") as file:
        lab.tools.vault.unseal_stream(file, clear)
    assert b"orders" in clear.getvalue()
    assert b"nightly" not in clear.getvalue()
    assert "nightly" in Path(taken.path).with_suffix(".json").read_text()
    assert driver.prove(taken).fingerprint == driver.fingerprint()
