"""init, lint, explain, render on a scaffolded estate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def copied(scaffolded: Cli, tmp_path: Path) -> Cli:
    """An estate of its own, to break."""
    directory = tmp_path / "shop"
    shutil.copytree(scaffolded.directory, directory, ignore=shutil.ignore_patterns(".lastgood"))
    return Cli(directory)


def test_init_makes_an_estate_without_mistakes(tmp_path: Path) -> None:
    made = Cli(tmp_path).data("init", "first", "--name", "my-shop")
    assert made["name"] == "my-shop"
    assert "lastgood.yaml" in made["files"]
    inside = Cli(tmp_path / "first")
    assert inside("lint").stdout == "no mistakes found\n"
    assert "estate" in inside("init", code=2).stderr


def test_lint_names_file_line_and_mend_and_ends_with_2(copied: Cli) -> None:
    values = copied.directory / "services" / "hello" / "values.yaml"
    values.write_text(values.read_text() + "audience: twice\n")
    done = copied("lint", code=2)
    line = len(values.read_text().splitlines())
    assert f"services/hello/values.yaml:{line}" in done.stdout
    assert "    → " in done.stdout
    assert "1 errors, 0 warnings" in done.stdout
    found = copied.data("lint", code=2)
    assert (found["errors"], found["problems"][0]["line"]) == (1, line)
    assert copied("lint", "--commit", "HEAD").stdout == "no mistakes found\n"


def test_explain_marks_the_layer_that_holds(scaffolded: Cli) -> None:
    layers = scaffolded.data("explain", "hello@dev/de", "greeting")["layers"]
    assert [(layer["layer"], layer["value"], layer["wins"]) for layer in layers] == [
        ("base", "Hello", False),
        ("site de", "Hallo", True),
    ]
    shown = scaffolded("explain", "hello@dev/de", "greeting").stdout
    (winner,) = [line for line in shown.splitlines() if "← holds" in line]
    assert "Hallo" in winner


def test_render_shows_or_writes_the_files(scaffolded: Cli, tmp_path: Path) -> None:
    assert '"greeting": "Hallo"' in scaffolded("render", "hello@dev/de").stdout
    scaffolded("render", "hello@dev/de", "--out", str(tmp_path / "out"))
    written = (tmp_path / "out" / "hello.json").read_text()
    assert scaffolded.data("render", "hello@dev/de")["files"] == {"hello.json": written}
    (tmp_path / "file").touch()
    assert (
        "can't be written"
        in scaffolded("render", "hello@dev/de", "--out", str(tmp_path / "file"), code=2).stderr
    )


def test_what_is_empty_says_how_to_begin(scaffolded: Cli) -> None:
    assert "lastgood deploy UNIT" in scaffolded("status").stdout
    assert "Nothing was done here yet." in scaffolded("history").stdout
    assert "nothing is recorded yet" in scaffolded("audit", "list").stdout
    assert "OK: 0 records" in scaffolded("audit", "verify").stdout
