"""A database is taken back by hand from a restore bundle, without lastgood and without Python."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from lastgood.store.vault import AgeVault
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS
from tests.drivers.bundled import lay_out, only, run
from tests.drivers.mariadb.conftest import Lab

ROWS = [(n, f"note {n}") for n in range(1, 101)]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "apart" / "seal.key"


@pytest.fixture
def shop(lab: Lab, key: Path) -> Lab:
    """With the vault of the product, a hundred orders and their lines."""
    vault = AgeVault(lab.tools.directory / "secrets", key)
    made = replace(lab, tools=replace(lab.tools, vault=vault))
    made.driver().deploy(ORDERS, KEY)
    made.ask("INSERT INTO orders SELECT seq, CONCAT('note ', seq) FROM seq_1_to_100")
    made.ask(
        "CREATE TABLE order_lines (id int AUTO_INCREMENT PRIMARY KEY, order_id int NOT NULL, "
        "FOREIGN KEY (order_id) REFERENCES orders (id))"
    )
    made.ask("INSERT INTO order_lines (order_id) VALUES (1), (2)")
    made.ask("CREATE VIEW recent AS SELECT id FROM orders WHERE id > 90")
    return made


def test_a_copy_is_loaded_compared_and_swapped_in(shop: Lab, key: Path, tmp_path: Path) -> None:
    part = shop.driver().bundle_database(shop.driver().snapshot("before"), [GIFTS], [GIFTS, ORDERS])
    bundle = lay_out(part, tmp_path / "bundle")
    path = only(tmp_path / "bin", part, {})
    assert all(b"note 1" not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    shop.ask("UPDATE orders SET note = 'broken'")
    shop.ask("INSERT INTO orders VALUES (101, 'new')")
    shop.ask("INSERT INTO order_lines (order_id) VALUES (101), (101), (101)")

    assert "LASTGOOD_KEY_FILE" in run(bundle, path).stderr
    loaded = run(bundle, path, key=key)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert "every table has the rows it had at the cut" in loaded.stdout
    assert "orders: 100 at the cut, 101 now" in loaded.stdout
    assert "At least 4 rows differ" in loaded.stdout
    assert "CREATE DATABASE" in loaded.stderr
    copy = re.search(r"\./restore\.sh swap (\S+)", loaded.stdout)
    assert copy is not None
    assert shop.ask("SELECT COUNT(*) FROM orders WHERE note = 'broken'") == [(100,)]
    swapped = run(bundle, path, "swap", copy[1])
    assert swapped.returncode == 0, swapped.stdout + swapped.stderr
    assert shop.ask("SELECT id, note FROM orders ORDER BY id") == ROWS
    assert [name for name, _ in shop.driver().applied()] == [ORDERS.name, GIFTS.name]
    assert shop.ask("SELECT COUNT(*) FROM recent") == [(10,)]
    (failed,) = [name for name in shop.databases() if "_failed_" in name]
    assert shop.ask("SELECT COUNT(*) FROM orders", failed) == [(101,)]
    assert shop.ask("SELECT COUNT(*) FROM order_lines", failed) == [(5,)]
    assert failed in swapped.stdout
    shop.ask("INSERT INTO order_lines (order_id) VALUES (3)")
    ((number,),) = shop.ask("SELECT MAX(id) FROM order_lines")
    assert int(str(number)) > 5
    with pytest.raises(Exception, match="foreign key"):
        shop.ask("INSERT INTO order_lines (order_id) VALUES (999)")
    again = run(bundle, path, "swap", copy[1])
    assert again.returncode == 1
    assert "was not loaded whole" in again.stderr


def test_a_reverse_script_keeps_what_was_written_since(shop: Lab, tmp_path: Path) -> None:
    shop.driver().deploy(GIFTS, KEY)
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [GIFTS, ORDERS])
    bundle, path = lay_out(part, tmp_path / "bundle"), only(tmp_path / "bin", part, {})
    shop.ask("INSERT INTO orders (id, note) VALUES (101, 'new')")
    done = run(bundle, path, "revert", GIFTS.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shop.ask("SELECT COUNT(*) FROM orders") == [(101,)]
    assert [name for name, _ in shop.driver().applied()] == [ORDERS.name]


def test_triggers_refuse_a_swap_before_anything_changes(shop: Lab, key: Path, tmp_path: Path) -> None:
    part = shop.driver().bundle_database(shop.driver().snapshot("one"), [], [])
    bundle, path = lay_out(part, tmp_path / "bundle"), only(tmp_path / "bin", part, {})
    loaded = run(bundle, path, key=key)
    copy = re.search(r"\./restore\.sh swap (\S+)", loaded.stdout)
    assert copy is not None, loaded.stdout + loaded.stderr
    shop.ask("CREATE TRIGGER upper BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = UPPER(NEW.note)")
    refused = run(bundle, path, "swap", copy[1])
    assert refused.returncode == 1
    assert "triggers" in refused.stderr
    assert [name for name in shop.databases() if "_failed_" in name] == []


def test_names_are_taken_as_they_are(lab: Lab, key: Path, tmp_path: Path) -> None:
    name = f"{lab.name} it's $HOME \\n %s"
    lab.ask(f"CREATE DATABASE `{name}`")
    tools = replace(lab.tools, vault=AgeVault(tmp_path / "secrets", key))
    shop = replace(lab, name=name, tools=tools)
    table = "`or'd ``x`` $HOME \\\\ %s`"
    shop.ask(f"CREATE TABLE {table} (id int AUTO_INCREMENT PRIMARY KEY)")
    driver = shop.driver(url=lab.server.url(quote(name, safe="")))
    part = driver.bundle_database(driver.snapshot("one"), [], [])
    bundle, path = lay_out(part, tmp_path / "bundle"), only(tmp_path / "bin", part, {})
    shop.ask(f"INSERT INTO {table} VALUES (5)")
    loaded = run(bundle, path, key=key)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    copy = re.search(r"\./restore\.sh swap (\w+)$", loaded.stdout, re.MULTILINE)
    assert copy is not None
    swapped = run(bundle, path, "swap", copy[1])
    assert swapped.returncode == 0, swapped.stdout + swapped.stderr
    assert shop.ask(f"SELECT COUNT(*) FROM {table}") == [(0,)]
