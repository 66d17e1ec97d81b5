"""What a review says of a statement, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lastgood.domain.finding import Blocks, Finding
from lastgood.domain.message import Message
from lastgood.ports.drivers import Classification
from lastgood.sql.clauses import Name

SHORT = 100
"""Characters of a statement that are shown."""


class Placed(Protocol):
    """A statement of a script; ``line`` (from 1) is where it begins."""

    @property
    def text(self) -> str: ...

    @property
    def line(self) -> int: ...


class Act(Protocol):
    """What it does to those who use its table."""

    @property
    def table(self) -> Name: ...

    @property
    def lock(self) -> str: ...

    @property
    def what(self) -> Message: ...

    @property
    def advice(self) -> Message: ...

    @property
    def safer(self) -> tuple[str, ...]: ...

    @property
    def blocked(self) -> Blocks: ...


def finding(script: str, statement: Placed, act: Act) -> Finding:
    return Finding(
        script=script,
        line=statement.line,
        statement=shortened(statement.text),
        table=act.table.text,
        what=act.what,
        advice=act.advice,
        lock=act.lock,
        blocks=act.blocked,
        safer=act.safer,
    )


def line_of(seen: Classification, statements: Sequence[Placed]) -> int:
    """Where the statement that decided the class begins; 0: none did."""
    return next((s.line for s in statements if seen.statement and s.text == seen.statement), 0)


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHORT else line[: SHORT - 1] + "…"
