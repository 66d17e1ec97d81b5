"""Sealed secrets open with the key and with nothing else, and never show."""

from __future__ import annotations

import io
import shutil
import traceback
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.errors import Cause, DriverError, InvalidInput
from lastgood.domain.release import SecretVersion
from lastgood.store.vault import AgeVault, create_key
from tests.store.disk import fill, small_disk

VALUE = "correct horse battery staple"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "apart" / "key.txt"


@pytest.fixture
def vault(tmp_path: Path, key: Path) -> AgeVault:
    return AgeVault(tmp_path / "secrets", key)


def test_a_value_comes_back_after_a_restart(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    secret = vault.seal("DB_PASSWORD", VALUE)
    again = AgeVault(tmp_path / "secrets", key)
    assert again.unseal(secret) == VALUE
    assert again.has(secret)
    assert again.seal("DB_PASSWORD", VALUE) == secret == again.version("DB_PASSWORD", VALUE)


def test_key_and_copies_are_ours_alone(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    secret = vault.seal("DB_PASSWORD", VALUE)
    copy = tmp_path / "secrets" / "DB_PASSWORD" / f"{secret.version}.age"
    for path in (key, copy):
        assert path.stat().st_mode & 0o777 == 0o600
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert VALUE.encode() not in everything


def test_sealing_again_leaves_the_copy_alone(tmp_path: Path, vault: AgeVault) -> None:
    vault.seal("A", VALUE)
    (copy,) = (tmp_path / "secrets").rglob("*.age")
    before = copy.read_bytes()
    vault.seal("A", VALUE)
    assert copy.read_bytes() == before


def test_the_copy_is_a_plain_age_file(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    vault.seal("A", VALUE)
    (copy,) = (tmp_path / "secrets").rglob("*.age")
    line = next(line for line in key.read_text().splitlines() if not line.startswith("#"))
    assert copy.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert pyrage.decrypt(copy.read_bytes(), [pyrage.x25519.Identity.from_str(line)]) == VALUE.encode()


def test_versions_differ_by_name_value_and_key(tmp_path: Path, vault: AgeVault) -> None:
    other = AgeVault(tmp_path / "secrets2", tmp_path / "apart" / "other.txt")
    made = [
        vault.version("A", "x"),
        vault.version("B", "x"),
        vault.version("A", "y"),
        other.version("A", "x"),
    ]
    assert len({secret.version for secret in made}) == 4
    assert all(len(secret.version) == 16 for secret in made)


@given(value=st.text() | st.binary(min_size=1).map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_any_value_comes_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    base = tmp_path_factory.getbasetemp()
    vault = AgeVault(base / "any-secrets", base / "any-key")
    assert vault.unseal(vault.seal("A", value)) == value


def test_a_lost_key_is_said_and_not_replaced(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    secret = vault.seal("A", VALUE)
    key.unlink()
    fresh = AgeVault(tmp_path / "secrets", key)
    for act in (
        lambda: fresh.unseal(secret),
        lambda: fresh.seal("A", VALUE),
        lambda: fresh.version("A", "x"),
    ):
        with pytest.raises(DriverError) as caught:
            act()
        assert str(key) in str(caught.value)
        assert caught.value.cause is Cause.WRONG_PATH
        assert caught.value.todo
    assert not fresh.has(secret)
    assert not key.exists()


def test_another_key_does_not_open_it(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    secret = vault.seal("A", VALUE)
    key.unlink()
    create_key(key)
    with pytest.raises(DriverError, match="does not open"):
        AgeVault(tmp_path / "secrets", key).unseal(secret)


@pytest.mark.parametrize("content", ["", "# public key: age1x\n", "AGE-SECRET-KEY-1NOT\n", "\0\n"])
def test_a_damaged_key_is_said_without_quoting_it(key: Path, vault: AgeVault, content: str) -> None:
    secret = vault.seal("A", VALUE)
    key.write_text(content)
    with pytest.raises(DriverError) as caught:
        AgeVault(key.parents[1] / "secrets", key).unseal(secret)
    shown = "".join(traceback.format_exception(caught.value))
    assert "AGE-SECRET-KEY-1NOT" not in shown
    assert vault.unseal(secret) == VALUE  # the one that has the key in memory goes on


def test_a_key_open_to_others_is_refused(tmp_path: Path, key: Path, vault: AgeVault) -> None:
    secret = vault.seal("A", VALUE)
    key.chmod(0o644)
    with pytest.raises(DriverError, match="read by others") as caught:
        AgeVault(tmp_path / "secrets", key).unseal(secret)
    assert caught.value.cause is Cause.PERMISSION
    assert "chmod 600" in str(caught.value.todo)


def test_damaged_and_exchanged_copies_are_found(tmp_path: Path, vault: AgeVault) -> None:
    first, second = vault.seal("A", "one"), vault.seal("A", "two")
    folder = tmp_path / "secrets" / "A"
    shutil.copy(folder / f"{second.version}.age", folder / f"{first.version}.age")
    (folder / f"{second.version}.age").write_bytes(b"age-encryption.org/v1\nnot really")
    for secret in (first, second):
        assert not vault.has(secret)
        with pytest.raises(DriverError, match="does not open"):
            vault.unseal(secret)
    vault.seal("A", "one")
    assert vault.unseal(first) == "one"


def test_what_was_never_sealed_is_said(vault: AgeVault) -> None:
    vault.seal("A", VALUE)
    with pytest.raises(DriverError, match="no sealed copy"):
        vault.unseal(SecretVersion("A", "0" * 16))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", ".hidden", "x" * 129, "a\0b"])
def test_a_name_leads_out_of_no_directory(vault: AgeVault, name: str) -> None:
    with pytest.raises(InvalidInput):
        vault.seal(name, VALUE)
    assert not vault.has(SecretVersion(name, "0" * 16))
    assert not vault.has(SecretVersion("A", name))


def test_the_key_is_kept_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="beside"):
        AgeVault(tmp_path, tmp_path / "key")


def test_create_key_never_replaces_one(key: Path) -> None:
    create_key(key)
    before = key.read_text()
    create_key(key)
    assert key.read_text() == before


def test_a_full_disk_is_said(tmp_path: Path, key: Path) -> None:
    create_key(key)
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        with pytest.raises(DriverError, match="disk full"):
            AgeVault(disk / "secrets", key).seal("A", VALUE * 1000)


def test_a_stream_comes_back_and_is_a_plain_age_file(vault: AgeVault, key: Path) -> None:
    content, sealed, opened = VALUE.encode() * 10_000, io.BytesIO(), io.BytesIO()
    vault.seal_stream(io.BytesIO(content), sealed)
    assert VALUE.encode() not in sealed.getvalue()
    vault.unseal_stream(io.BytesIO(sealed.getvalue()), opened)
    line = key.read_text().splitlines()[-1]
    assert opened.getvalue() == content
    assert pyrage.decrypt(sealed.getvalue(), [pyrage.x25519.Identity.from_str(line)]) == content


@pytest.mark.parametrize("harm", ["cut off", "changed"])
def test_a_damaged_stream_does_not_open(vault: AgeVault, harm: str) -> None:
    sealed = io.BytesIO()
    vault.seal_stream(io.BytesIO(VALUE.encode() * 10_000), sealed)
    content = bytearray(sealed.getvalue())
    if harm == "changed":
        content[len(content) // 2] ^= 0xFF
    else:
        del content[len(content) // 2 :]
    with pytest.raises(DriverError, match="does not open"):
        vault.unseal_stream(io.BytesIO(bytes(content)), io.BytesIO())


def test_a_key_that_sealed_streams_only_is_not_replaced_either(
    tmp_path: Path, key: Path, vault: AgeVault
) -> None:
    vault.seal_stream(io.BytesIO(b"content"), io.BytesIO())
    key.unlink()
    with pytest.raises(DriverError, match="is missing"):
        AgeVault(tmp_path / "secrets", key).seal("A", VALUE)
    assert not key.exists()
