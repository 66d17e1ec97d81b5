"""The way of one migration through its statements, forward and back, noted at each of them.

Sent and unanswered is looked at: the schema is either as it was noted before the statement, or the
statement is done. The server makes a single definition whole or not at all, also when it is killed; only what
replaces a table drops it first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pymysql

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures, progress
from lastgood.drivers.mariadb.aside import Keeper
from lastgood.drivers.mariadb.changes import MARK
from lastgood.drivers.mariadb.connection import Connection, Server, run
from lastgood.drivers.mariadb.fingerprint import SEQUENCE, TABLE, read_listing
from lastgood.drivers.mariadb.locks import Watch
from lastgood.drivers.mariadb.progress import Progress, Undo
from lastgood.drivers.mariadb.scan import Kind, Statement, split
from lastgood.drivers.mariadb.undo import owned, reversal
from lastgood.sql.blockers import describe
from lastgood.sql.failures import Spot
from lastgood.sql.listing import Listing, difference

RETRY_PAUSE = 0.2


@dataclass(frozen=True)
class Script:
    """One script of a migration, split; ``file`` names it for people."""

    file: str
    statements: tuple[Statement, ...]

    @property
    def tail(self) -> int:
        """From here on no statement ends a transaction: they run in one with the row of the revision."""
        for position in range(len(self.statements), 0, -1):
            if self.statements[position - 1].kind is Kind.DEFINITION:
                return position
        return 0


class StatementFailed(Exception):
    """A statement was refused: ``error`` is what to raise when everything before it is taken back."""

    def __init__(self, error: DriverError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Walk:
    """``progress`` is kept in the database; ``undo`` gives the statements that are being taken back."""

    server: Server
    connection: Connection
    progress: Progress
    script: Script
    watch: Watch
    keeper: Keeper | None = None
    """Puts aside what the script removes, when it is a revert."""
    undo: Callable[[], int] | None = None
    """Undoes rows that the migration changed, before the script; how many."""
    spot: Spot = field(init=False)
    """Of what is being run."""

    _after_last: Listing | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.spot = self.server.spot

    def forward(self) -> None:
        """Every statement before the tail. Raises StatementFailed, and OutcomeUnknown when an answer was
        lost.
        """
        self._settle_sent(going_on=True)
        self._session_again()
        while self.progress.done < self.script.tail:
            statement = self.script.statements[self.progress.done]
            if statement.kind is Kind.DEFINITION:
                self._define(statement)
            else:
                self._rows()

    def finish(self, work: Callable[[], None]) -> None:
        """The tail and ``work`` in one transaction, which ends the progress. Raises as ``forward``."""

        def attempt() -> None:
            run(self.connection, "START TRANSACTION")
            if self.undo is not None and not self.script.tail:
                self.undo()
            self._run_rows(self.script.statements[self.script.tail :], self.script.tail)
            self.spot = self.server.spot
            work()
            progress.remove(self.connection)
            self._commit()

        self._patiently(attempt)

    def back(self, error: DriverError) -> DriverError:
        """Take back what was done, and say what to raise: ``error``, with what stands when anything does."""
        state = self.progress
        self._settle_sent()
        self._after_last = None
        if state.state != progress.UNDOING:
            state.state, state.undone, state.error = progress.UNDOING, 0, kept(error)
            state.write(self.connection)
        statements = state.way_back
        while state.undone < len(statements):
            undo = statements[state.undone]
            self._note_sent(undo.text)
            try:
                self._patiently(partial(self._undo_one, undo))
            except StatementFailed as failed:
                if failed.error.cause is Cause.TABLE_LOCK:
                    return _waits(raised(state.error), failed.error)
                state.stands.append(f"{undo.text} ({failed.error})")
            state.undone, state.sent = state.undone + 1, ""
            state.write(self.connection)
        return self._conclude()

    def _conclude(self) -> DriverError:
        state = self.progress
        left = difference(state.begun, read_listing(self.connection))
        if not left and not state.stands:
            progress.remove(self.connection)
            return raised(state.error)
        first = raised(state.error)
        stopped = Rejected(
            N_("{failure}; what was done before could not all be taken back, because the server has no "
               "transactions for definitions. This stands: {stands}"),
            todo=N_("Restore the database from its snapshot, or mend by hand what stands; then try again."),
            where=first.where,
            cause=first.cause,
            failure=str(first),
            stands="; ".join((*state.stands, *left.splitlines())),
        )  # fmt: skip
        state.state, state.error = progress.STOPPED, kept(stopped)
        state.write(self.connection)
        return stopped

    def _settle_sent(self, *, going_on: bool = False) -> None:
        """Find out what became of the statement that was sent last. One that is half done is left to be sent
        again when it is ``going_on``, as if nothing had become of it.
        """
        state = self.progress
        if not state.sent:
            return
        now = read_listing(self.connection)
        if now != state.seen:
            if state.state == progress.UNDOING:
                state.undone += 1
            else:
                statement = split(state.sent, "")[0]
                if going_on and _half_done(statement, state.seen, now):
                    self._after_last = state.seen
                    return
                self._done(statement, state.seen, now)
        state.sent = ""
        state.write(self.connection)

    def _session_again(self) -> None:
        """What the script set for its session before it broke off."""
        for statement in self.script.statements[: self.progress.done]:
            if statement.kind is Kind.SESSION:
                self._run(statement)

    def _note_sent(self, text: str) -> Listing:
        seen = self._after_last or read_listing(self.connection)
        self._after_last = None
        self.progress.sent, self.progress.seen = text, seen
        self.progress.write(self.connection)
        return seen

    def _define(self, statement: Statement) -> None:
        seen = self._note_sent(statement.text)
        try:
            self._patiently(lambda: self._run_definition(statement))
        except StatementFailed:
            # Some do a part of their work before they are refused: DROP TABLE here, nowhere.
            now = read_listing(self.connection)
            if now != seen:
                self._done(statement, seen, now)
            self.progress.sent = ""
            self.progress.write(self.connection)
            raise
        self._after_last = read_listing(self.connection)
        self._done(statement, seen, self._after_last)
        self.progress.sent = ""
        self.progress.write(self.connection)

    def _done(self, statement: Statement, seen: Listing, now: Listing) -> None:
        """Note what takes it back. What is lost of a table that this very migration made is no loss."""
        found = reversal(statement, seen, now, self.progress.own)
        state = self.progress
        made = {table for table, column in state.own if not column}
        lost = [one for one in found.lost if one.table not in made]
        group = [undo for undo in found.statements if undo.table not in made]
        if self.keeper is not None:
            group, lost = self.keeper.refilled(group, lost, seen, state.done)
        state.undo.append(group)
        state.stands += [f"{one.words} ({_short(statement.text)})" for one in lost]
        state.own = owned(state.own, statement, seen, now)
        state.done += 1

    def _rows(self) -> None:
        """The statements up to the next definition in one transaction with the note that they are done."""
        start = end = self.progress.done
        while self.script.statements[end].kind is not Kind.DEFINITION:
            end += 1
        group = self.script.statements[start:end]
        changed = replace(
            self.progress, done=end, stands=[*self.progress.stands, *_lost(self.progress, group)]
        )

        def attempt() -> None:
            run(self.connection, "START TRANSACTION")
            self._run_rows(group, start)
            changed.write(self.connection)
            self._commit()

        self._patiently(attempt)
        self.progress.done, self.progress.stands = changed.done, changed.stands

    def _run_rows(self, group: Sequence[Statement], done: int) -> None:
        if self.keeper is not None:
            self.keeper.before_rows(group, done)
        for statement in group:
            self._run(statement)
        if self.keeper is not None:
            self.keeper.after_rows(group, done)

    def _run_definition(self, statement: Statement) -> None:
        if self.keeper is None:
            self._run(statement)
            return
        with self.keeper.around(statement, self.progress.done):
            self._run(statement)

    def _run(self, statement: Statement) -> None:
        self.spot = replace(
            self.server.spot, file=self.script.file, line=statement.line, statement=statement.text
        )
        mark = MARK if statement.kind is Kind.DEFINITION else ""
        run(self.connection, mark + statement.text)
        if statement.kind is Kind.SESSION:
            self.server.guard(self.connection, keep_mode=True)

    def _undo_one(self, undo: Undo) -> None:
        self.spot = replace(self.server.spot, statement=undo.text)
        if undo.mode:
            run(self.connection, "SET SESSION sql_mode = %s", undo.mode)
        if undo.rows:
            # With a row of ours in the same transaction: so the log tells that they are not the shop's.
            run(self.connection, "START TRANSACTION")
            run(self.connection, undo.text)
            self.progress.write(self.connection)
            self._commit()
        else:
            run(self.connection, MARK + undo.text)
        self.server.guard(self.connection)

    def _commit(self) -> None:
        try:
            run(self.connection, "COMMIT")
        except pymysql.Error as error:
            if failures.lost(error):
                spot = self.server.spot
                raise failures.outcome_unknown(error, spot, self.progress.name) from None
            raise

    def _patiently(self, attempt: Callable[[], None]) -> None:
        """Try until it is done or ``lock_deadline`` is over; only a lock in the way is tried again."""
        deadline = time.monotonic() + self.server.settings.lock_deadline
        while True:
            try:
                return attempt()
            except pymysql.Error as error:
                if failures.lost(error):
                    raise failures.outcome_unknown(error, self.server.spot, self.progress.name) from None
                self._rollback()
                if not failures.locked(error) or time.monotonic() >= deadline:
                    raise StatementFailed(_failure(error, self.watch, self.spot)) from None
            time.sleep(RETRY_PAUSE * random.uniform(0.5, 1.5))

    def _rollback(self) -> None:
        try:
            run(self.connection, "ROLLBACK")
        except pymysql.Error as error:
            raise failures.outcome_unknown(error, self.server.spot, self.progress.name) from None


def undo_rows(walk: Walk) -> None:
    """Where definitions follow, in a transaction before them: else with the script, in ``Walk.finish``."""
    undo, state = walk.undo, walk.progress
    if undo is None or not walk.script.tail:
        return

    def attempt() -> None:
        run(walk.connection, "START TRANSACTION")
        number = undo()
        words = f"{number} rows that {state.name} had changed are as before"
        changed = replace(state, stands=[*state.stands, *([words] if number else [])])
        changed.write(walk.connection)
        walk._commit()
        state.stands = changed.stands

    walk._patiently(attempt)


def _lost(state: Progress, group: Sequence[Statement]) -> list[str]:
    """What nothing brings back of the rows that ``group`` changed."""
    # A driver that only answers signals does without the parser.
    from lastgood.drivers.mariadb.effects import harmless

    return [
        f"the rows as they were ({_short(s.text)})"
        for s in group
        if s.kind is Kind.ROWS and not harmless(s, state.own, state.seen)
    ]


def _failure(error: pymysql.Error, watch: Watch, spot: Spot) -> DriverError:
    if failures.locked(error):
        return failures.table_lock(failures.text(error), describe(watch.last), spot)
    return failures.translate(error, spot)


def _waits(first: DriverError, lock: DriverError) -> DriverError:
    """Nothing is given up for a lock: whoever calls next goes on taking it back."""
    return Rejected(
        N_("{failure}; taking it back is not over: {lock}"),
        todo=N_("Wait for that session to finish, or end it, then try again: that goes on with it."),
        where=first.where,
        cause=Cause.TABLE_LOCK,
        failure=str(first),
        lock=str(lock),
    )


def _half_done(statement: Statement, seen: Listing, now: Listing) -> bool:
    """What is to be replaced is dropped first: killed then, the server has neither the old nor the new."""
    gone = {kind for kind, _ in seen.keys() - now.keys()}
    return statement.words[:3] == ("CREATE", "OR", "REPLACE") and bool(gone & {TABLE, SEQUENCE})


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 120 else plain[:119] + "…"


def kept(error: DriverError) -> dict[str, object]:
    """An error as the database keeps it."""
    return {
        "kind": type(error).__name__,
        "what": error.what.template,
        "params": {
            k: v if isinstance(v, (str, int, float)) else str(v) for k, v in error.what.params.items()
        },
        "todo": error.todo.template,
        "where": error.where,
        "cause": error.cause.value if error.cause else "",
    }


def raised(plain: Mapping[str, Any]) -> DriverError:
    """The error that was kept."""
    kinds: Mapping[str, type[DriverError]] = {"Unreachable": Unreachable, "OutcomeUnknown": OutcomeUnknown}
    return kinds.get(plain["kind"], Rejected)(
        plain["what"],
        todo=plain["todo"],
        where=plain["where"],
        cause=Cause(plain["cause"]) if plain["cause"] else None,
        **plain["params"],
    )
