"""A statement of a migration that hurts whoever uses the database while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lastgood.domain.message import Message


class Blocks(str, Enum):
    """What others can't do while a statement runs, or until its transaction ends."""

    NOTHING = "nothing"
    WRITES = "writes"
    EVERYTHING = "reads and writes"


@dataclass(frozen=True)
class Finding:
    """A statement that hurts the users of a database, and how it is written so that it does not.

    ``script`` is deploy or revert, ``line`` (from 1) where the statement begins in it, ``statement`` the
    statement itself, shortened. ``lock`` is the server's own name of the lock on ``table``, empty when it is
    not about a lock. ``safer`` holds scripts to copy, each one migration's; empty: there is no safer form.
    """

    script: str
    line: int
    statement: str
    table: str
    what: Message
    advice: Message
    lock: str = ""
    blocks: Blocks = Blocks.NOTHING
    safer: tuple[str, ...] = ()
