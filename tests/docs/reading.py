"""The documentation as tests see it: pages, headings, links, code blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("src/lastgood/drivers/*/README.md")]
)
CONTINUES = ("|", ">", ";", "&&")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line it starts at, its text, and whether CI leaves it out."""

    language: str
    line: int
    text: str
    excluded: bool

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


def named(name: str) -> Path:
    return ROOT / name


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    language, start, lines, excluded = "", 0, [""], False
    before = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if start:
                found.append(Block(language, start, "\n".join(lines), excluded))
                start = 0
            else:
                language, start, lines = line[3:].strip(), number, []
                excluded = "<!-- not run" in before
        elif start:
            lines.append(line)
        before = line
    return found


def scripts(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh"]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[tuple[int, str]]:
    """(level, text) in order."""
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def anchor(heading: str) -> str:
    """As code hosts make it: lower case, no punctuation, hyphens for spaces."""
    kept = (c for c in heading.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def said(page: Path) -> Iterator[tuple[str, bool]]:
    """Each ``lastgood …`` that the page shows, and whether it is whole (a line) or in the prose."""
    for block in blocks(page):
        for line in block.commands if block.language in ("sh", "ini") else ():
            command = line.split("ExecStart=")[-1].lstrip("$ ")
            command = re.sub(r"^\S*/bin/lastgood", "lastgood", command)
            if command.startswith("lastgood "):
                yield command, True
    for quoted in re.findall(r"`(lastgood [^`]+)`", prose(page)):
        yield quoted.replace("\\|", "|"), False


def words_of(command: str) -> list[str]:
    """The words up to whatever the shell does with the output."""
    words: list[str] = []
    for word in shlex.split(command, comments=True)[1:]:
        if word in CONTINUES:
            break
        words.append(word)
    return words
