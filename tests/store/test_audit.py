"""The chain finds whoever rewrites history, with whatever means."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from lastgood.domain.audit import Phase
from lastgood.domain.errors import GateFailed
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark
from lastgood.store.audit import hash_of
from lastgood.store.database import SqlStore, SqlUnitOfWork
from tests.store.making import NOW, rollout

TRIGGERS = (
    "journal_refuses_update",
    "journal_refuses_delete",
    "audit_refuses_update",
    "audit_refuses_delete",
)
HEAD_TRIGGERS = ("audit_head_refuses_update", "audit_head_refuses_delete")


def record(work: SqlUnitOfWork, number: int) -> None:
    work.audit.append(
        actor="me",
        origin="cli",
        verb="deploy",
        subject=f"unit{number % 2}",
        phase=Phase.INTENT,
        reason=f"reason {number}",
        data={"n": number, "深": [1, 1.0, None]},
        at=NOW + timedelta(seconds=number),
    )


@pytest.fixture
def chained(store: SqlStore) -> SqlStore:
    for number in range(1, 6):
        with store.write() as work:
            record(work, number)
    return store


def tamper(store: SqlStore, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(store.file, isolation_level=None)) as raw:
        for trigger in (*TRIGGERS, *HEAD_TRIGGERS):
            raw.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            raw.execute(statement)


def broken(store: SqlStore) -> int | None:
    with store.read() as work:
        found = work.audit.first_broken()
    return None if found is None else found.sequence


def test_a_chain_that_nobody_touched_is_whole(chained: SqlStore) -> None:
    assert broken(chained) is None
    with chained.read() as work:
        assert [r.sequence for r in work.audit.list(limit=2)] == [5, 4]
        assert [r.sequence for r in work.audit.list("unit1")] == [5, 3, 1]
        newest, before = work.audit.list(limit=2)
        assert newest.previous == before.hash
        assert newest.data == {"n": 5, "深": [1, 1.0, None]}


def test_an_empty_chain_is_whole(store: SqlStore) -> None:
    assert broken(store) is None


@pytest.mark.parametrize(
    "change",
    [
        "reason = 'another'",
        "actor = 'somebody'",
        "origin = 'web'",
        "verb = 'rollback'",
        "subject = 'unit9'",
        "phase = 'outcome'",
        "at = '2026-03-01T12:00:03.000001+00:00'",
        "data = '{}'",
        "data = 'not json'",
        "at = 'never'",
        "phase = 'perhaps'",
        "hash = ''",
        "previous = ''",
    ],
)
def test_an_edited_record_is_found(chained: SqlStore, change: str) -> None:
    tamper(chained, f"UPDATE audit SET {change} WHERE sequence = 3")
    assert broken(chained) == 3


def test_a_forged_record_with_a_right_hash_of_its_own_is_found_at_the_next(chained: SqlStore) -> None:
    with chained.read() as work:
        third = work.audit.list()[2]
    forged = hash_of(replace(third, reason="another"))
    tamper(chained, f"UPDATE audit SET reason = 'another', hash = '{forged}' WHERE sequence = 3")
    assert broken(chained) == 4


def test_a_removed_record_is_found_at_the_next(chained: SqlStore) -> None:
    tamper(chained, "DELETE FROM audit WHERE sequence = 3")
    assert broken(chained) == 4


def test_a_removed_beginning_is_found(chained: SqlStore) -> None:
    tamper(chained, "DELETE FROM audit WHERE sequence <= 2")
    assert broken(chained) == 3


def test_closing_the_gap_does_not_hide_a_removal(chained: SqlStore) -> None:
    tamper(
        chained,
        "DELETE FROM audit WHERE sequence = 3",
        "UPDATE audit SET sequence = 3 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit_head SET sequence = 4",
    )
    assert broken(chained) == 3


def test_two_records_that_changed_places_are_found(chained: SqlStore) -> None:
    tamper(
        chained,
        "UPDATE audit SET sequence = 99 WHERE sequence = 2",
        "UPDATE audit SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit SET sequence = 3 WHERE sequence = 99",
    )
    assert broken(chained) == 2


def test_an_inserted_record_is_found(chained: SqlStore) -> None:
    tamper(
        chained,
        "INSERT INTO audit SELECT 6, at, actor, origin, verb, subject, phase, 'forged', data, hash, hash "
        "FROM audit WHERE sequence = 5",
    )
    assert broken(chained) == 6


@pytest.mark.parametrize("gone", [1, 2, 5])
def test_a_removed_end_is_found_by_the_head(chained: SqlStore, gone: int) -> None:
    tamper(chained, f"DELETE FROM audit WHERE sequence > {5 - gone}")
    with chained.read() as work:
        found = work.audit.first_broken()
    assert found is not None
    assert (found.sequence, found.verb, found.data) == (6 - gone, "missing", {"records": gone})


@pytest.mark.parametrize(
    "act", ["DELETE FROM audit_head", "UPDATE audit_head SET sequence = 4", "UPDATE audit_head SET hash = ''"]
)
def test_a_head_that_was_touched_is_found(chained: SqlStore, act: str) -> None:
    tamper(chained, act)
    assert broken(chained) == 6


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE audit SET reason = 'x' WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 5",
        "UPDATE journal SET step = 'x'",
        "DELETE FROM journal",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET sequence = 1",
    ],
)
def test_the_database_itself_refuses_to_rewrite(chained: SqlStore, act: str) -> None:
    with chained.write() as work:
        work.rollouts.add(rollout("r1", ("s", StepKind.OBSERVE)))
        work.journal.append("r1", "s", Mark.INTENT, {}, NOW)
    with (
        contextlib.closing(sqlite3.connect(chained.file, isolation_level=None)) as raw,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        raw.execute(act)
    assert broken(chained) is None


def test_foreign_text_and_other_zones_do_not_break_the_chain(store: SqlStore) -> None:
    with store.write() as work:
        made = work.audit.append(
            actor="caf\udce9",
            origin="cli",
            verb="deploy",
            subject="u",
            phase=Phase.OUTCOME,
            reason="bytes \udcff",
            data={"output": "\udcff", "when": NOW, "nested": {"pair": (1, 2)}},
            at=NOW.astimezone(timezone(timedelta(hours=9))),
        )
    assert broken(store) is None
    with store.read() as work:
        assert work.audit.list() == (made,)


def test_a_transaction_that_failed_leaves_no_link(chained: SqlStore) -> None:
    def stopped() -> None:
        with chained.write() as work:
            record(work, 6)
            raise GateFailed("no")

    with pytest.raises(GateFailed):
        stopped()
    with chained.write() as work:
        record(work, 7)
    assert broken(chained) is None
    with chained.read() as work:
        assert [r.reason for r in work.audit.list(limit=2)] == ["reason 7", "reason 5"]
