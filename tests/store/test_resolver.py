"""Secrets are read where the estate says, and only the place is ever named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.release import SecretReference
from lastgood.store.resolver import SecretSources
from tests.store.stranger import let_through, run_as_stranger


def test_a_variable_is_read_as_it_is(tmp_path: Path) -> None:
    sources = SecretSources(tmp_path, {"PASSWORD": " value\n"})
    assert sources.resolve(SecretReference("db", env="PASSWORD")) == " value\n"


def test_without_an_environment_it_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTGOOD_TEST_SECRET", "value")
    assert SecretSources().resolve(SecretReference("db", env="LASTGOOD_TEST_SECRET")) == "value"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"value", "value"),
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b"value\r", "value\r"),
        (b" a b ", " a b "),
        ("密码\n".encode(), "密码"),
        (b"\xff\n", "\udcff"),
    ],
)
def test_a_file_loses_one_newline_at_its_end(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert SecretSources(tmp_path, {}).resolve(SecretReference("db", file="secret")) == value
    assert SecretSources(None, {}).resolve(SecretReference("db", file=str(tmp_path / "secret"))) == value


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        (SecretReference("db", env="MISSING"), "MISSING"),
        (SecretReference("db", env="EMPTY"), "EMPTY"),
        (SecretReference("db", env="NUL"), "NUL"),
        (SecretReference("db", file="missing"), "missing"),
        (SecretReference("db", file="."), "plain file"),
        (SecretReference("db", file="empty"), "empty"),
        (SecretReference("db", file="big"), "1 MiB"),
        (SecretReference("db", file="a\0b"), "null"),
        (SecretReference("db", file="fifo"), "plain file"),
        (SecretReference("db"), "exactly one"),
        (SecretReference("db", env="NUL", file="big"), "exactly one"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named_without_its_value(
    tmp_path: Path, reference: SecretReference, named: str
) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "big").write_bytes(b"hidden" * 200_000)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput, match=named) as caught:
        SecretSources(tmp_path, {"EMPTY": "", "NUL": "hidden\0"}).resolve(reference)
    assert "hidden" not in f"{caught.value}{caught.value.todo}{caught.value.where}"
    assert caught.value.todo


UNREADABLE = """
from lastgood.domain.release import SecretReference
from lastgood.store.resolver import SecretSources
try:
    SecretSources().resolve(SecretReference("db", file=sys.argv[1]))
except NotAllowed as error:
    assert sys.argv[1] in str(error) and error.todo
else:
    raise SystemExit("it was permitted")
"""


def test_a_file_of_somebody_else_is_not_allowed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("value")
    secret.chmod(0)
    let_through(tmp_path)
    run_as_stranger(UNREADABLE, str(secret))
