"""YAML that is wrong or wicked ends in one clear error with file, line and mend."""

from __future__ import annotations

import time

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import UnitId
from lastgood.estate import yamlfile
from tests.estate.repositories import Repository

EXPLODING = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)

BAD = {
    "duplicate key": ("port: 1\nshop: {}\nport: 2\n", 3, "'port' is there twice (first in line 1)"),
    "nested duplicate": ("a:\n  b: 1\n  b: 2\n", 3, "'b' is there twice (first in line 2)"),
    "tab": ("a:\n\tb: 1\n", 2, "a tab is used to indent"),
    "cycle": ("a: &a\n  b: *a\n", 2, "a cycle"),
    "exploding anchors": (EXPLODING, 5, "expands to more than 100000 nodes"),
    "no such anchor": ("a: 1\nb: *c\n", 2, "no anchor 'c'"),
    "number as key": ("a: {1: x}\n", 1, "a key here is not a string"),
    "list as key": ("? [a]\n: b\n", 1, "a key here is not a string"),
    "merge key": ("a: &a {x: 1}\nb: {<<: *a}\n", 2, "merge keys"),
    "tag": ("a: !!python/object:os.system x\n", 1, "the tag"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "more than one document"),
    "syntax": ("a: 1\nb: [1, 2\n", 2, "this is not YAML"),
    "indentation": ("a: 1\n  b: 2\n", 2, "this is not YAML"),
    "control character": ("a: 1\nb: \x01\n", 2, "this is not YAML"),
    "not UTF-8": (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
    "infinite": ("a: .inf\n", 1, "not a number"),
    "too many digits": ("a: " + "9" * 5000 + "\n", 1, "not a number"),
    "deep": ("a: " + "[" * 100 + "]" * 100 + "\n", 1, "nested deeper than 64"),
    "a list": ("- a\n- b\n", 1, "must be a mapping"),
    "ten megabytes": ("a: " + "x" * 10_000_000 + "\n", 0, "may have at most 1048576"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_in_a_layer(repository: Repository, name: str) -> None:
    content, line, words = BAD[name]
    repository.write({"services/web/values.yaml": content})
    start = time.monotonic()
    with pytest.raises(InvalidInput) as caught:
        repository.render("web@prod/us")
    assert words in str(caught.value.what)
    assert caught.value.where == "services/web/values.yaml" + (f":{line}" if line else "")
    assert str(caught.value.todo)
    found = [p for p in repository.lint() if p.severity == "error"]
    assert [(p.path, p.line) for p in found] == [("services/web/values.yaml", line)]
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["duplicate key", "tab", "exploding anchors", "cycle", "ten megabytes"])
@pytest.mark.parametrize(
    "file", ["lastgood.yaml", "services/web/service.yaml", "databases/shop/database.yaml"]
)
def test_bad_yaml_in_a_declaration(repository: Repository, file: str, name: str) -> None:
    content, _, words = BAD[name]
    repository.write({file: content})
    repository.commit()
    with pytest.raises(InvalidInput) as caught:
        repository.reader.at("HEAD").render(UnitId("web", "prod", "us"))
    assert words in str(caught.value.what)
    assert caught.value.where.startswith(file)


@pytest.mark.parametrize("fast", [True, False])
def test_scalars_follow_yaml_1_2(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(yamlfile, "_fast", fast)
    text = "a: no\nb: yes\nc: true\nd: 2024-01-01\ne: 0o17\nf: 1_000\ng: 12e3\nh: ~\n"
    text += "i: '1'\nj: 0x1F\nk: 22:22\nl: -7\n"
    assert yamlfile.load(text.encode(), "f").data == {
        "a": "no", "b": "yes", "c": True, "d": "2024-01-01", "e": 15, "f": "1_000", "g": 12000.0, "h": None,
        "i": "1", "j": 31, "k": "22:22", "l": -7,
    }  # fmt: skip


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "a: {b: [1, {c: d}], e: f}\n# comment\ng: |\n  text\n  more\nh: >-\n  one\n  two\n",
        "base: &b {x: 1}\nagain: *b\nempty:\nquoted: \"a\\tb: c\"\n'key with: colon': 1\n",
        "\ufeffa: 1\r\nb:\r\n  - x\r\n  - y: z\r\n",
        "# only a comment\n",
        "",
    ],
)
def test_both_parsers_see_the_same(monkeypatch: pytest.MonkeyPatch, fast: bool, text: str) -> None:
    expected = yamlfile.load(text.encode(), "f")
    monkeypatch.setattr(yamlfile, "_fast", fast)
    assert yamlfile.load(text.encode(), "f") == expected


def test_the_fast_parser_is_there() -> None:
    assert yamlfile._fast, (
        "PyYAML with libyaml is missing: rendering would take twenty times as long to parse"
    )


def test_lines_are_those_of_the_keys() -> None:
    document = yamlfile.load(b"a:\n  b: 1\n\n  c:\n    - x\n    - {d: 2}\n", "f")
    assert document.line(("a",)) == 1
    assert document.line(("a", "c", 1, "d")) == 6
    assert document.line(("a", "c", "unknown", "deeper")) == 4
