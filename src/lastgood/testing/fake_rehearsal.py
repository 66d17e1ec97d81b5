"""A rehearsal on a copy of the fake database."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql.scan import runnable
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journey, Journeys
from lastgood.testing.fake_sql import Columns, Listing, Rows, columns_of, listing, rows_of, run_script


class Copy(Protocol):
    """The fake database, one that nobody else uses."""

    def connect(self) -> contextlib.AbstractContextManager[sqlite3.Connection]: ...

    def fingerprint(self) -> str: ...

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]: ...

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class State:
    """Schema and rows; rows over the columns that there were at the start."""

    listing: Listing
    rows: Rows


def rehearse(
    copy: Copy, pending: Sequence[MigrationScript], standing: Sequence[MigrationScript], journeys: Journeys
) -> Rehearsal:
    """Source of ``RehearsesWrites.rehearse_writes``, the copy apart."""
    with copy.connect() as connection:
        columns = columns_of(connection)
    before = copy.fingerprint()
    speaking = [m for m in standing[:-1] if not _verify(copy, m)] + list(standing[-1:])
    first = _look(copy, columns)
    untried = next((e for j in journeys.old if (e := _write(copy, j, 2, keep=False))), "")
    states, deploy_seconds = _deploy(copy, pending, first, columns)
    complaint = next((e for m in speaking if (e := _verify(copy, m))), "")
    revert_seconds = _revert(copy, pending, states, columns)
    lines = _left(states, _look(copy, columns))
    if journeys != Journeys() and not lines:
        again, _ = _deploy(copy, pending, first, columns)
        _write_new(copy, journeys)
        if not (complaint or untried):
            complaint = next((e for j in journeys.old if (e := _write(copy, j, 1, keep=True))), "")
        written = _look(copy, columns)
        if written.listing != again[-1].listing:
            raise Rejected(N_("a journey.sql changes the schema"), cause=Cause.SCRIPT_ERROR)
        _revert(copy, pending, [*again[:-1], written], columns)
        lines = _fewer(again, written, _look(copy, columns))
    return Rehearsal(
        before, copy.fingerprint(), not complaint, deploy_seconds, revert_seconds, "\n".join(lines),
        _additive(states[0].listing, states[-1].listing), _said(complaint), _said(untried),
    )  # fmt: skip


def _said(text: str) -> Message:
    return Message("{text}", {"text": text}) if text else Message("")


def _deploy(
    copy: Copy, pending: Sequence[MigrationScript], first: State, columns: Columns
) -> tuple[list[State], dict[str, float]]:
    states, seconds = [first], dict[str, float]()
    for migration in pending:
        seconds[migration.name] = _timed(copy.deploy, migration)
        states.append(_look(copy, columns))
    return states, seconds


def _write_new(copy: Copy, journeys: Journeys) -> None:
    if journeys.new is not None and (failed := _write(copy, journeys.new, 2, keep=True)):
        raise Rejected(
            N_("{file} fails on the new schema: {error}"),
            cause=Cause.SCRIPT_ERROR, file=_file(journeys.new), error=failed,
        )  # fmt: skip


def _revert(
    copy: Copy, pending: Sequence[MigrationScript], states: Sequence[State], columns: Columns
) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for migration, wanted, deployed in reversed(list(zip(pending, states[:-1], states[1:], strict=True))):
        was = _look(copy, columns)
        seconds[migration.name] = _timed(copy.revert, migration)
        if _look(copy, columns) == was and deployed != wanted:
            left = "; ".join(_difference(wanted.listing, was.listing))
            raise Rejected(
                N_("revert.sql of {name} changes nothing, although deploy.sql did: {left}"),
                cause=Cause.SCRIPT_ERROR, name=migration.name, left=left,
            )  # fmt: skip
    return seconds


def _timed(act: Callable[[MigrationScript, str], object], migration: MigrationScript) -> float:
    start = time.perf_counter()
    act(migration, "rehearsal")
    return time.perf_counter() - start


def _look(copy: Copy, columns: Columns) -> State:
    with copy.connect() as connection:
        return State(listing(connection), rows_of(connection, columns))


def _left(states: Sequence[State], after: State) -> list[str]:
    """What the way back left: of the schema anything, of the rows those the migration had left alone."""
    lines = _difference(states[0].listing, after.listing)
    for table, content in _left_alone(states).items():
        now = after.rows.get(table)
        if now is not None and now != content:
            lines.append(f"table {table} has other rows: it had {content[0]}, and has {now[0]}")
    return lines


def _fewer(states: Sequence[State], written: State, after: State) -> list[str]:
    """The same once code wrote: no row may be missing."""
    lines = _difference(states[0].listing, after.listing)
    for table in _left_alone(states):
        there, now = written.rows.get(table), after.rows.get(table)
        if there is not None and now is not None and now[0] < there[0]:
            lines.append(f"table {table} has other rows: it had {there[0]}, and has {now[0]}")
    return lines


def _left_alone(states: Sequence[State]) -> Rows:
    return {t: content for t, content in states[0].rows.items() if states[-1].rows.get(t) == content}


def _difference(before: Listing, after: Listing) -> list[str]:
    lines = [f"{kind} {name} was not removed" for kind, name in sorted(after.keys() - before.keys())]
    lines += [f"{kind} {name} was not brought back" for kind, name in sorted(before.keys() - after.keys())]
    common = sorted(k for k in before.keys() & after.keys() if k[0] != "table")
    return lines + [
        f"{kind} {name} is different" for kind, name in common if before[kind, name] != after[kind, name]
    ]


def _additive(before: Listing, after: Listing) -> bool:
    """Nothing that code meets changed, and new columns of old tables may be left out."""
    tables = {name for kind, name in before if kind == "table"}
    for key, text in before.items():
        plain = key[0] == "index" and "UNIQUE" not in text.upper()
        same = key in after and (key[0] == "table" or after[key] == text)
        if not (plain or same):
            return False
    for kind, name in after.keys() - before.keys():
        if kind == "trigger" or (kind == "index" and "UNIQUE" in after[kind, name].upper()):
            return False
        # ('text', 1, None, …): its type, whether it refuses nulls, its default.
        strict = after[kind, name].split(", ")[1:3] == ["1", "None"]
        if kind == "column" and strict and name.partition(".")[0] in tables:
            return False
    return True


def _verify(copy: Copy, migration: MigrationScript) -> str:
    return _in_transaction(copy, f"verify.sql of {migration.name}", migration.verify, 1, keep=False)


def _write(copy: Copy, journey: Journey, times: int, *, keep: bool) -> str:
    return _in_transaction(copy, _file(journey), journey.script, times, keep=keep)


def _in_transaction(copy: Copy, file: str, text: str, times: int, *, keep: bool) -> str:
    """What failed, in words."""
    statements = [(s.text, s.line) for s in runnable(text, file)]
    with copy.connect() as connection:
        connection.execute("BEGIN")
        try:
            for _ in range(times):
                run_script(connection, file, statements)
        except Rejected as error:
            connection.execute("ROLLBACK")
            return str(error.what)
        connection.execute("COMMIT" if keep else "ROLLBACK")
    return ""


def _file(journey: Journey) -> str:
    return f"journey.sql of {journey.whose}"
