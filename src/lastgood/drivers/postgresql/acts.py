"""What a statement does to those who use its table: the lock, how long, and the form that hurts less.

Source: PostgreSQL 15 to 18, "Explicit Locking" and the reference of each command; tests hold a server to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql.known import Known
from lastgood.sql.clauses import NOBODY, Name

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
EXCLUSIVE = "EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE = "SHARE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"

BLOCKS: Mapping[str, Blocks] = {
    ACCESS_EXCLUSIVE: Blocks.EVERYTHING,
    EXCLUSIVE: Blocks.WRITES,
    SHARE_ROW_EXCLUSIVE: Blocks.WRITES,
    SHARE: Blocks.WRITES,
}
ALONE = "-- lastgood: no transaction\n"

APART = N_("Write it as several migrations, one after the other:")
CONCURRENTLY = N_("Build it without stopping writes, in a migration of its own that runs in no transaction:")
NO_FORM = N_("The server has no weaker form: run it in a quiet hour, and say so in the plan's reason.")
OLD_CODE = N_(
    "Do it in a later release, when no running release uses the old name any more: add the new one now, fill "
    "both, and remove the old one then."
)
NOT_READ = N_(
    "Do it in a later release, when no running release reads it any more: the old one runs beside the new."
)


@dataclass(frozen=True)
class Act:
    """``lock`` on ``table``; ``long``: for as long as it reads or writes the whole table. Without ``what`` it
    is quick, and hurts only when something long follows in the same transaction. ``blocks`` is only said
    where the lock does not say it.
    """

    table: Name
    lock: str = ""
    long: bool = False
    what: Message = field(default_factory=lambda: Message(""))
    advice: Message = field(default_factory=lambda: Message(""))
    safer: tuple[str, ...] = ()
    blocks: Blocks | None = None

    @property
    def blocked(self) -> Blocks:
        return self.blocks if self.blocks is not None else BLOCKS.get(self.lock, Blocks.NOTHING)


@dataclass
class Scene:
    """One script as it runs: what is known so far, what it made itself, and what it says of enums."""

    script: str
    known: Known
    created: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    """Values added to enums, with their quotes, by the enum's name."""
    unindexed: list[tuple[Name, tuple[str, ...], str]] = field(default_factory=list)
    """Foreign keys of this script: table, columns, and those columns as they are written."""


def quick(table: Name, lock: str) -> Act:
    return Act(table, lock)


def slow(table: Name, lock: str, what: str, advice: str, *safer: str, **params: Any) -> Act:
    """Holds ``lock`` for as long as the table is large."""
    params = {"table": table.text, **params}
    return Act(table, lock, True, Message(what, params), Message(advice, params), safer)


def breaking(table: Name, what: str, advice: str, **params: Any) -> Act:
    """Quick, but code that still runs does not live with it."""
    params = {"table": table.text, **params}
    return Act(table, ACCESS_EXCLUSIVE, False, Message(what, params), Message(advice, params))


def advised(table: Name, what: str, advice: str, *safer: str, **params: Any) -> Act:
    """No lock, but something that will hurt."""
    params = {"table": table.text, **params}
    return Act(table, "", False, Message(what, params), Message(advice, params), safer)


NOTHING = Act(NOBODY)
