"""Captures, Restores and KeepsWarm on one SQLite file: triggers write down what anybody but a migration
writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours, Salvage, Swapped, TableWrites, WritesSince
from lastgood.domain.warm_copy import CopyRoom, WarmCopy

JOURNAL = "lastgood_journal"
"""What was written: seq, name of the table, what was done, key, the columns that were given, as JSON."""
MUTE = "lastgood_mute"
"""Has a row while a migration is at work; ``lastgood_capture`` names the snapshot of the open capture."""
OPERATIONS = {"insert": "NEW", "update": "NEW", "delete": "OLD"}


class FakeRestoring(Protocol):
    """Mixed into the fake database."""

    path: Path
    directory: Path
    obstacle: Message | None
    unknown: tuple[Message, ...]
    room: CopyRoom
    beside: Neighbours
    undone: tuple[Message, ...]
    """What a swap says is still to be done."""

    def _fail(self, method: str) -> None: ...

    def connect(self) -> contextlib.AbstractContextManager[sqlite3.Connection]: ...

    def snapshot(self, key: str) -> Snapshot: ...

    def discard(self, snapshot: Snapshot) -> None: ...

    def capture_obstacle(self) -> Message | None:
        self._fail("capture_obstacle")
        return self.obstacle

    def capture(self, key: str) -> Snapshot:
        self._fail("capture")
        if self.obstacle is not None:
            raise Rejected(self.obstacle.template, **self.obstacle.params)
        with self.connect() as connection:
            taken = self.snapshot(key)
            if _open(connection) == taken.id:
                return taken
            # Taken by a call that died before its triggers: what was written since is not known.
            self.discard(taken)
            connection.execute("BEGIN IMMEDIATE")
            taken = self.snapshot(key)
            _remove(connection)
            _install(connection, taken.id)
            connection.execute("COMMIT")
        return taken

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        self._fail("writes_since")
        with self.connect() as connection:
            if _open(connection) != snapshot.id:
                reason = Message(N_("nothing was kept since {name}"), {"name": snapshot.id})
                return WritesSince(
                    snapshot.id, complete=False, reasons=(reason,), warm=self.standing_by(snapshot)
                )
            last = _position(connection)
            counts: dict[str, list[int]] = {}
            for table, done, _, _ in _net(connection, 0):
                counts.setdefault(table, [0, 0, 0])[list(OPERATIONS).index(done)] += 1
        tables = tuple(
            TableWrites(t, n[0], n[1], n[2], not keep or t in keep) for t, n in sorted(counts.items())
        )
        warm = self.standing_by(snapshot)
        return WritesSince(snapshot.id, not self.unknown, tables, self.unknown, str(last), last * 100, warm)

    def refuse_lost(self, snapshot: Snapshot) -> None:
        self._fail("refuse_lost")
        with self.connect() as connection:
            if _open(connection) != snapshot.id:
                raise Rejected(N_("nothing was kept since {name}"), name=snapshot.id)

    def end_capture(self, snapshot: Snapshot) -> None:
        self._fail("end_capture")
        with self.connect() as connection:
            if _open(connection) == snapshot.id:
                _remove(connection)
        self._warm(snapshot).unlink(missing_ok=True)

    def copy_room(self) -> CopyRoom:
        self._fail("copy_room")
        return self.room

    def warm_copy(self, snapshot: Snapshot) -> WarmCopy:
        self._fail("warm_copy")
        self.refuse_lost(snapshot)
        there = self.standing_by(snapshot)
        if there is None or not there.usable:
            temporary = self._warm(snapshot).with_suffix(".tmp")
            shutil.copyfile(snapshot.path, temporary)
            temporary.rename(self._warm(snapshot))
        size = self._warm(snapshot).stat().st_size
        return WarmCopy(self._warm(snapshot).name, size, proven_at=datetime.now(UTC))

    def standing_by(self, snapshot: Snapshot) -> WarmCopy | None:
        """A file tells by its content whether somebody wrote to it."""
        self._fail("standing_by")
        path = self._warm(snapshot)
        if not path.exists():
            return None
        same = not Path(snapshot.path).exists() or path.read_bytes() == Path(snapshot.path).read_bytes()
        trouble = Message("") if same else Message(N_("{name} was changed"), {"name": path.name})
        return WarmCopy(path.name, path.stat().st_size, trouble)

    def refuse_restore(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        self._fail("refuse_restore")
        with self.connect() as connection:
            known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if missing := [table for table in keep if table not in known]:
            raise Rejected(N_("there is no table {table}"), table=missing[0])

    def neighbours(self, snapshot: Snapshot) -> Neighbours:
        self._fail("neighbours")
        return self.beside

    def prepare_copy(self, snapshot: Snapshot, key: str) -> str:
        self._fail("prepare_copy")
        copy = self._copy(key)
        warm = self.standing_by(snapshot)
        if not copy.exists() and "failed" not in self._noted(key) and warm is not None and warm.usable:
            self._warm(snapshot).rename(copy)
        if not copy.exists() and "failed" not in self._noted(key):
            temporary = copy.with_suffix(".tmp")
            shutil.copyfile(snapshot.path, temporary)
            temporary.rename(copy)
        return copy.name

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        self._fail("carry_over")
        if "failed" in (noted := self._noted(key)):
            return _salvage(noted)
        with self.connect() as connection:
            return self._carry(connection, key, keep)

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        self._fail("swap")
        noted = self._noted(key)
        if "failed" not in noted:
            with self.connect() as connection:
                connection.execute("BEGIN EXCLUSIVE")
                self._carry(connection, key, keep)
                noted = {**self._noted(key), "failed": f"{self.path.name}_failed_{_short(key)}"}
                shutil.copyfile(self.path, self.path.with_name(noted["failed"]))
                self._copy(key).rename(self.path)
                self._note(key, noted)
        return Swapped(noted["failed"], _salvage(noted), 0.02, 0.01, self.undone)

    def abandon(self, key: str) -> bool:
        self._fail("abandon")
        if "failed" in self._noted(key):
            return True
        self._copy(key).unlink(missing_ok=True)
        self._notes_of(key).unlink(missing_ok=True)
        return False

    def _carry(self, live: sqlite3.Connection, key: str, keep: Sequence[str]) -> Salvage:
        noted = {"position": 0, "carried": {}, "conflicts": {}, **self._noted(key)}
        last = _position(live)
        with contextlib.closing(sqlite3.connect(self._copy(key), isolation_level=None)) as copy:
            copy.execute("BEGIN")
            for table, done, row, values in _net(live, noted["position"]):
                if not keep or table in keep:
                    into = "carried" if _apply(copy, table, done, row, values) else "conflicts"
                    noted[into] = {**noted[into], table: noted[into].get(table, 0) + 1}
            _numbers(live, copy)
            copy.execute("COMMIT")
        self._note(key, {**noted, "position": last})
        return _salvage({**noted, "position": last})

    def _copy(self, key: str) -> Path:
        return self.path.with_name(f"{self.path.name}_restored_{_short(key)}")

    def _warm(self, snapshot: Snapshot) -> Path:
        return self.path.with_name(f"{self.path.name}_warm_{_short(snapshot.id)}")

    def _notes_of(self, key: str) -> Path:
        return self.path.with_name(f"restore-{_short(key)}.json")

    def _noted(self, key: str) -> dict[str, Any]:
        notes = self._notes_of(key)
        return dict(json.loads(notes.read_text())) if notes.exists() else {}

    def _note(self, key: str, noted: dict[str, Any]) -> None:
        self._notes_of(key).write_text(json.dumps(noted))


def muted(connection: sqlite3.Connection, on: bool) -> None:
    """What a migration writes is not the shop's."""
    if _there(connection, MUTE):
        connection.execute(f"INSERT INTO {MUTE} VALUES (1)" if on else f"DELETE FROM {MUTE}")


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:10]


def _there(connection: sqlite3.Connection, name: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())


def _open(connection: sqlite3.Connection) -> str:
    if not _there(connection, "lastgood_capture"):
        return ""
    return str(connection.execute("SELECT snapshot FROM lastgood_capture").fetchone()[0])


def _install(connection: sqlite3.Connection, snapshot: str) -> None:
    connection.execute("CREATE TABLE lastgood_capture (snapshot TEXT)")
    connection.execute("INSERT INTO lastgood_capture VALUES (?)", (snapshot,))
    connection.execute(f"CREATE TABLE {MUTE} (x INTEGER)")
    connection.execute(
        f"CREATE TABLE {JOURNAL} (seq INTEGER PRIMARY KEY, tab TEXT, done TEXT, row INTEGER, given TEXT)"
    )
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in names:
        if table.startswith(("lastgood_", "sqlite_")):
            continue
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        for done, which in OPERATIONS.items():
            given = ", ".join(f"'{c}', {which}.\"{c}\"" for c in columns)
            if done == "update":
                given = ", ".join(
                    f'CASE WHEN NEW."{c}" IS OLD."{c}" THEN \'-{c}\' ELSE \'{c}\' END, NEW."{c}"'
                    for c in columns
                )
            connection.execute(
                f'CREATE TRIGGER "lastgood_{done}_{table}" AFTER {done} ON "{table}" '
                f"WHEN NOT EXISTS (SELECT 1 FROM {MUTE}) BEGIN "
                f"INSERT INTO {JOURNAL} (tab, done, row, given) "
                f"VALUES ('{table}', '{done}', {which}.rowid, json_object({given})); END"
            )


def _remove(connection: sqlite3.Connection) -> None:
    if not _there(connection, JOURNAL):
        return
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        if name.startswith("lastgood_"):
            connection.execute(f'DROP TRIGGER "{name}"')
    for table in (JOURNAL, MUTE, "lastgood_capture"):
        connection.execute(f"DROP TABLE {table}")


def _position(connection: sqlite3.Connection) -> int:
    return int(connection.execute(f"SELECT coalesce(max(seq), 0) FROM {JOURNAL}").fetchone()[0])


def _net(connection: sqlite3.Connection, after: int) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Each row once: what it has come to since ``after``."""
    found: dict[tuple[str, int], tuple[str, dict[str, Any]]] = {}
    query = f"SELECT tab, done, row, given FROM {JOURNAL} WHERE seq > ? ORDER BY seq"
    for table, done, row, given in connection.execute(query, (after,)):
        values = {k: v for k, v in json.loads(given).items() if not k.startswith("-")}
        before, known = found.pop((table, row), ("", {}))
        if before == "insert" and done == "delete":
            continue
        kept = "insert" if before == "insert" else done
        found[table, row] = (kept, values if done == "delete" else {**known, **values})
    for (table, row), (done, values) in found.items():
        yield table, done, row, values


def _apply(copy: sqlite3.Connection, table: str, done: str, row: int, values: dict[str, Any]) -> bool:
    """Whether the copy could hold it."""
    columns = {r[1] for r in copy.execute(f'PRAGMA table_info("{table}")')}
    fitting = {k: v for k, v in values.items() if k in columns}
    try:
        if done == "delete":
            copy.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (row,))
        elif done == "insert":
            names = ", ".join(f'"{name}"' for name in fitting)
            marks = ", ".join("?" * len(fitting))
            copy.execute(f'INSERT OR REPLACE INTO "{table}" ({names}) VALUES ({marks})', [*fitting.values()])
        elif fitting:
            given = ", ".join(f'"{name}" = ?' for name in fitting)
            copy.execute(f'UPDATE "{table}" SET {given} WHERE rowid = ?', [*fitting.values(), row])
    except sqlite3.IntegrityError:
        return False
    return True


def _numbers(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Never below a number that was handed out."""
    if not (_there(live, "sqlite_sequence") and _there(copy, "sqlite_sequence")):
        return
    for name, number in live.execute("SELECT name, seq FROM sqlite_sequence"):
        copy.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, name))


def _salvage(noted: dict[str, Any]) -> Salvage:
    return Salvage(noted.get("carried", {}), noted.get("conflicts", {}), str(noted.get("position", "")))
