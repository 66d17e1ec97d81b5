"""The pages hang together: links lead somewhere, both languages say the same, commands and options exist."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from lastgood.cli.errors import BROKEN_PIPE, INTERRUPTED, USAGE
from lastgood.cli.main import COMMANDS, app
from lastgood.cli.options import FLAGS, VALUED, hoist
from lastgood.demo.cli import NEXT
from lastgood.domain.errors import LastgoodError
from tests.docs import reading
from tests.docs.reading import PAGES, ROOT, named

MISTAKES: tuple[type[BaseException], ...] = (*USAGE, LastgoodError)
PAIRS = [
    ("README.md", "README.zh-CN.md"),
    *(
        (str(p.relative_to(ROOT)), f"docs/zh/{p.name}")
        for p in sorted((ROOT / "docs").glob("*.md"))
        if (ROOT / "docs" / "zh" / p.name).exists()
    ),
]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in reading.links(page):
        if re.match(r"https?://", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            fragment and fragment not in {reading.anchor(text) for _, text in reading.headings(target)}
        ):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page_in_both_languages() -> None:
    for index, folder in (("docs/index.md", "docs"), ("docs/zh/index.md", "docs/zh")):
        linked = {(named(index).parent / link).resolve() for link in reading.links(named(index))}
        own = {p.resolve() for p in named(folder).glob("*.md")} | {
            p.resolve() for p in named("docs/design").glob("*.md")
        }
        assert own - linked - {named(index).resolve()} == set()


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_the_same_sections_and_commands(english: str, chinese: str) -> None:
    levels = [[level for level, _ in reading.headings(named(name))] for name in (english, chinese)]
    assert levels[0] == levels[1]
    shown = [
        [(b.text, b.excluded) for b in reading.blocks(named(name)) if b.language in ("sh", "ini")]
        for name in (english, chinese)
    ]
    assert shown[0] == shown[1]


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_people_write_the_same_files(english: str, chinese: str) -> None:
    """Comments and descriptions aside."""
    written = [
        [
            {**yaml.safe_load(b.text), "description": ""}
            for b in reading.blocks(named(name))
            if b.language == "yaml"
        ]
        for name in (english, chinese)
    ]
    assert written[0] == written[1]


def test_both_languages_have_people_write_the_same_lines_for_the_proxy() -> None:
    lines = [
        [b.text for b in reading.blocks(named(name)) if b.language == "text"]
        for name in ("docs/images.md", "docs/zh/images.md")
    ]
    assert lines[0] == lines[1] != []


def test_each_page_for_users_is_there_in_chinese() -> None:
    english = {p.name for p in named("docs").glob("*.md")}
    assert english - {p.name for p in named("docs/zh").glob("*.md")} == set()


def _without_globals(words: list[str]) -> list[str]:
    rest = hoist(words)
    while rest and rest[0] in (*VALUED, *FLAGS):
        rest = rest[2:] if rest[0] in VALUED else rest[1:]
    return rest


def _wrong(command: str, *, whole: bool) -> str:
    """Why the product would not understand a command, empty when it does."""
    name, *rest = _without_globals(reading.words_of(command)) or ["--help"]
    if name in ("COMMAND", "--help", "--version"):
        return ""
    if name not in COMMANDS:
        return f"no command {name}"
    found: Any = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    if hasattr(found, "list_commands"):
        below = [word for word in rest if word in found.list_commands(None)]
        if below:
            rest.remove(below[0])
            found = found.get_command(None, below[0])
        elif name != "demo":
            return f"{name} needs one of its commands"
    options = {opt for p in found.params for opt in p.opts} | {"--help", "-h", *VALUED, *FLAGS}
    if unknown := [word for word in rest if word.startswith("-") and word.split("=")[0] not in options]:
        return f"no option {unknown}"
    try:
        if whole:
            found.make_context(name, rest)
    except MISTAKES as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_each_command_shown_is_one(page: Path) -> None:
    found = [(command, _wrong(command, whole=whole)) for command, whole in reading.said(page)]
    assert [entry for entry in found if entry[1]] == []


@pytest.mark.parametrize("name", ["docs/commands.md", "docs/zh/commands.md"])
def test_every_command_is_in_the_table(name: str) -> None:
    told = set(re.findall(r"^\| `(\w+)", reading.prose(named(name)), re.MULTILINE))
    assert set(COMMANDS) - told == set()


@pytest.mark.parametrize(
    "command",
    ["lastgood roolback x@y/z", "lastgood rollback x@y/z --yess", "lastgood accept", "lastgood audit lost"],
)
def test_a_command_that_is_none_is_noticed(command: str) -> None:
    assert _wrong(command, whole=True)


def test_the_next_five_commands_are_those_that_the_demonstration_names() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        (block,) = [b for b in reading.scripts(named(name)) if "demo env" in b.text]
        assert tuple(block.commands[1:-1]) == NEXT


def test_make_targets_and_extras_shown_exist() -> None:
    text = named("README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", named("Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", text, re.MULTILINE)) <= targets
    project = tomllib.loads(named("pyproject.toml").read_text())["project"]
    assert set(re.findall(r"\[(\w+)\]'", text)) == set(project["optional-dependencies"])


def test_stopping_the_service_never_stops_what_it_started() -> None:
    (block,) = [b for b in reading.blocks(named("docs/operations.md")) if b.language == "ini"]
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    service = dict(unit["Service"])
    assert (service["KillMode"], service["OOMPolicy"], service["Restart"]) == (
        "process", "continue", "always"
    )  # fmt: skip


def _tree(kind: type[LastgoodError]) -> Iterator[type[LastgoodError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _tree(below)


@pytest.mark.parametrize("name", ["docs/operations.md", "docs/zh/operations.md"])
def test_the_table_of_exit_codes_is_that_of_the_errors(name: str) -> None:
    codes = set(map(int, re.findall(r"^\| (\d+) \|", reading.prose(named(name)), re.MULTILINE)))
    of_the_product = {kind.exit_code for kind in _tree(LastgoodError)} | {0, 1, INTERRUPTED, BROKEN_PIPE}
    assert codes == of_the_product


def test_the_picture_in_the_readme_has_the_words_of_the_demonstration() -> None:
    source = named("src/lastgood/demo/cli.py").read_text(encoding="utf-8")
    (picture,) = [b for b in reading.blocks(named("README.md")) if b.language == "text"]
    labels = re.findall(r"^✓  (.+?)  ", picture.text, re.MULTILINE)
    assert len(labels) == 5
    assert [label for label in labels if f'N_("{label}")' not in source] == []
