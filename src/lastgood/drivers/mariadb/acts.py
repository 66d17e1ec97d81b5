"""What a statement does to those who use its table: how the server changes it, and the form that hurts less.

Source: MariaDB 10.11, "InnoDB Online DDL" and the reference of each command; tests hold a server to it. From
11.2 on the server lets others write while it copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_, Message
from lastgood.drivers.mariadb.known import Known
from lastgood.sql.clauses import NOBODY, Name

COPY = "ALGORITHM=COPY, LOCK=SHARED"
SHARED = "ALGORITHM=INPLACE, LOCK=SHARED"
EXCLUSIVE = "LOCK=EXCLUSIVE"
ROWS_WRITTEN = "lock_mode X"
ROWS_READ = "lock mode S"

NO_FORM = N_("The server has no weaker form: run it in a quiet hour, and say so in the plan's reason.")
OLD_CODE = N_(
    "Do it in a later release, when no running release uses the old name any more: add the new one now, fill "
    "both, and remove the old one then."
)
NOT_READ = N_(
    "Do it in a later release, when no running release reads it any more: the old one runs beside the new."
)
REFUSED = N_("Ask for the form that stops nobody: the server then refuses it rather than make others wait:")


@dataclass(frozen=True)
class Act:
    """``lock`` on ``table``, as the server is asked for it, for as long as the table is large."""

    table: Name
    lock: str = ""
    what: Message = field(default_factory=lambda: Message(""))
    advice: Message = field(default_factory=lambda: Message(""))
    safer: tuple[str, ...] = ()

    @property
    def blocked(self) -> Blocks:
        if self.lock == EXCLUSIVE:
            return Blocks.EVERYTHING
        return Blocks.WRITES if self.lock else Blocks.NOTHING


@dataclass
class Scene:
    """One script as it runs: what is known so far, what it made itself, and what it told the server not to
    check (names of variables).
    """

    script: str
    known: Known
    created: set[str] = field(default_factory=set)
    unchecked: set[str] = field(default_factory=set)


def slow(table: Name, lock: str, what: str, advice: str, *safer: str, **params: Any) -> Act:
    params = {"table": table.text, **params}
    return Act(table, lock, Message(what, params), Message(advice, params), safer)


def breaking(table: Name, what: str, advice: str, **params: Any) -> Act:
    """Quick, but code that still runs does not live with it."""
    return slow(table, "", what, advice, **params)


NOTHING = Act(NOBODY)
