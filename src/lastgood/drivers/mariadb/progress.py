"""How far a migration has come, in the database itself: written before a statement is sent and after it.

The server ends a transaction at each definition, so that a migration is not one. Whoever finds this row knows
what has been done, and what would undo it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.drivers.mariadb.connection import PREFIX, Connection, rows, run
from lastgood.drivers.mariadb.revisions import exists
from lastgood.sql.listing import Listing, from_plain, to_plain

TABLE = f"{PREFIX}progress"
DEPLOY, REVERT = "deploy", "revert"
RUNNING, UNDOING, STOPPED = "running", "undoing", "stopped"

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    slot tinyint NOT NULL PRIMARY KEY,
    name varchar(255) NOT NULL,
    digest varchar(100) NOT NULL,
    `key` text NOT NULL,
    act varchar(10) NOT NULL,
    state varchar(10) NOT NULL,
    done int NOT NULL,
    undone int NOT NULL,
    sent longtext NOT NULL,
    back longtext NOT NULL,
    stands longtext NOT NULL,
    own longtext NOT NULL,
    begun longtext NOT NULL,
    seen longtext NOT NULL,
    error longtext NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""
_FIELDS = "name, digest, `key`, act, state, done, undone, sent, back, stands, own, begun, seen, error"


Owned = tuple[str, str]
"""A table and its column, or the whole of it: ``""``."""


@dataclass(frozen=True)
class Undo:
    """A statement that undoes one; ``mode``: the ``sql_mode`` it has to run in, empty: any; ``table``: the
    one that it changes, empty: it does more. ``rows``: it fills in rows, as often as it is sent.
    """

    text: str
    mode: str = ""
    table: str = ""
    rows: bool = False


@dataclass
class Progress:
    """``done`` statements of the script are over, ``undone`` of those in ``undo`` too when it goes back.

    ``sent`` is the one that may have been sent since, and ``seen`` is the schema before it. ``begun`` is the
    schema at the start. ``undo`` holds what undoes each statement, in the order in which they were done;
    ``stands`` says what nothing undoes, ``own`` what the migration itself has made. ``error``: why it went
    back, as the last word to whoever asks again.
    """

    name: str
    digest: str
    key: str
    act: str
    begun: Listing
    state: str = RUNNING
    done: int = 0
    undone: int = 0
    sent: str = ""
    undo: list[list[Undo]] = field(default_factory=list)
    stands: list[str] = field(default_factory=list)
    own: list[Owned] = field(default_factory=list)
    seen: Listing = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def way_back(self) -> list[Undo]:
        """Every statement that undoes, in the order in which they have to run."""
        return [statement for group in reversed(self.undo) for statement in group]

    def of(self, name: str, digest: str, act: str) -> bool:
        return (self.name, self.digest, self.act) == (name, digest, act)

    def write(self, connection: Connection) -> None:
        run(
            connection,
            f"REPLACE INTO {TABLE} (slot, {_FIELDS}) "
            "VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            self.name, self.digest, self.key, self.act, self.state, self.done, self.undone, self.sent,
            json.dumps([[[u.text, u.mode, u.table, u.rows] for u in group] for group in self.undo]),
            json.dumps(self.stands), json.dumps(self.own), json.dumps(to_plain(self.begun)),
            json.dumps(to_plain(self.seen)), json.dumps(self.error),
        )  # fmt: skip


def prepare(connection: Connection) -> None:
    if not exists(connection, TABLE):
        run(connection, _CREATE)


def read(connection: Connection) -> Progress | None:
    """That of a migration that is under way or broke off, None when there is none."""
    if not exists(connection, TABLE):
        return None
    found = rows(connection, f"SELECT {_FIELDS} FROM {TABLE} WHERE slot = 1")
    if not found:
        return None
    name, digest, key, act, state, done, undone, sent, undo, stands, own, begun, seen, error = found[0]
    return Progress(
        name, digest, key, act, from_plain(json.loads(begun)), state, done, undone, sent,
        [[Undo(*u) for u in group] for group in json.loads(undo)], json.loads(stands),
        [(t, c) for t, c in json.loads(own)], from_plain(json.loads(seen)), json.loads(error),
    )  # fmt: skip


def remove(connection: Connection) -> None:
    run(connection, f"DELETE FROM {TABLE} WHERE slot = 1")
