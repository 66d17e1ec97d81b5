"""Dumps are sealed on their way to the disk, and open with the key alone."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, DriverError, Rejected
from lastgood.sql import keeping
from lastgood.store.vault import AgeVault, create_key
from lastgood.testing.conformance_migrates import KEY, ORDERS
from tests.drivers.postgresql.conftest import Lab
from tests.store.disk import small_disk

CUSTOMER = "Anna Karenina, 12 Nevsky Prospekt"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "apart" / "seal.key"


@pytest.fixture
def shop(emptied_lab: Lab, key: Path) -> Lab:
    """With the vault of the product."""
    vault = AgeVault(emptied_lab.tools.directory / "secrets", key)
    made = replace(emptied_lab, tools=replace(emptied_lab.tools, vault=vault))
    made.driver().deploy(ORDERS, KEY)
    made.ask(f"INSERT INTO orders SELECT n, '{CUSTOMER}' || n FROM generate_series(1, 100) n")
    return made


def test_no_row_lies_there_in_clear_and_age_opens_it(shop: Lab, key: Path) -> None:
    taken = shop.driver().snapshot("one")
    kept = list(shop.tools.directory.rglob("*"))
    assert all(CUSTOMER.encode() not in path.read_bytes() for path in kept if path.is_file())
    opened = subprocess.run(["age", "-d", "-i", str(key), taken.path], capture_output=True, check=True)
    tool = str(shop.server.binaries / "pg_restore")
    listed = subprocess.run([tool, "-f", "-"], input=opened.stdout, capture_output=True, check=True)
    assert CUSTOMER.encode() in listed.stdout
    assert shop.driver().prove(taken).proven_at is not None


def test_a_lost_key_is_found_by_proving_and_is_not_replaced(shop: Lab, key: Path) -> None:
    taken = shop.driver().snapshot("one")
    content = key.read_bytes()
    key.unlink()
    shop.tools.vault = AgeVault(shop.tools.directory / "secrets", key)
    with pytest.raises(DriverError, match="key to the sealed secrets is missing") as caught:
        shop.driver().prove(taken)
    assert caught.value.cause is Cause.WRONG_PATH
    assert f"Put back {key}" in str(caught.value.todo)
    with pytest.raises(DriverError, match="is missing"):
        shop.driver().snapshot("two")
    assert not key.exists()
    assert {p.stem for p in Path(taken.path).parent.iterdir()} == {taken.id}
    key.write_bytes(content)
    key.chmod(0o600)
    assert shop.driver().prove(taken).proven_at is not None


def test_another_key_does_not_open_it(shop: Lab, key: Path) -> None:
    taken = shop.driver().snapshot("one")
    key.unlink()
    create_key(key)
    shop.tools.vault = AgeVault(shop.tools.directory / "secrets", key)
    with pytest.raises(DriverError, match="does not open with the key"):
        shop.driver().prove(taken)
    assert [name for name in shop.databases() if name.startswith("lastgood_scratch_")] == []


def test_one_from_before_they_were_sealed_still_loads(shop: Lab) -> None:
    taken = shop.driver().snapshot("one")
    clear = io.BytesIO()
    with Path(taken.path).open("rb") as file:
        shop.tools.vault.unseal_stream(file, clear)
    Path(taken.path).write_bytes(clear.getvalue())
    notes = Path(taken.path).with_suffix(".json")
    said = json.loads(notes.read_text())
    said["digest"] = keeping.file_digest(Path(taken.path))
    said["snapshot"]["size"] = len(clear.getvalue())
    notes.write_text(json.dumps(said))
    assert shop.driver().prove(taken).proven_at is not None


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(shop: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.driver().snapshot("makes the key")
    shop.ask("CREATE TABLE noise AS SELECT sha256(n::text::bytea) FROM generate_series(1, 60000) n")
    monkeypatch.setattr(keeping, "RESERVE", -(1 << 40))
    with small_disk(shop.tools.directory / "disk") as disk:
        full = replace(shop, tools=replace(shop.tools, directory=disk))
        with pytest.raises(Rejected, match="No space left"):
            full.driver().snapshot("too large")
        assert list((disk / "snapshots").iterdir()) == []
