"""Versions of secrets by unit, what was revoked, and what an older state says of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from alembic import command
from sqlalchemy import text

from lastgood.domain.release import SecretVersion
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.secret import Revocation, Sealing
from lastgood.store import migrate
from lastgood.store.database import NAME, SqlStore, open_store
from lastgood.store.engines import connector, engine
from tests.store.conftest import SetClock
from tests.store.making import NOW, OTHER, UNIT, release, rollout

ONE, TWO = SecretVersion("TOKEN", "1" * 16), SecretVersion("TOKEN", "2" * 16)
NEXT = SecretVersion("KEY", "3" * 16)


def test_only_what_is_new_to_a_unit_is_written(store: SqlStore) -> None:
    first, second = Sealing(ONE, UNIT, NOW, "ann"), Sealing(TWO, UNIT, NOW, "ann")
    with store.write() as work:
        for sealing in (first, first, second, second, first, Sealing(NEXT, OTHER, NOW, "bob")):
            work.secrets.give(sealing)
        # By hand is more than by a deploy, not the other way round.
        work.secrets.give(replace(first, renewed=True))
        work.secrets.give(first)
    with store.read() as work:
        assert work.secrets.sealings(UNIT) == (replace(first, renewed=True), first, second, first)
        assert [s.secret for s in work.secrets.sealings(name="KEY")] == [NEXT]
        assert work.secrets.sealings(OTHER, "TOKEN") == ()


def test_revoked_twice_is_kept_once(store: SqlStore) -> None:
    first = Revocation(ONE, NOW, "ann", "leaked")
    with store.write() as work:
        work.secrets.revoke(first)
        work.secrets.revoke(Revocation(ONE, NOW, "bob", "again"))
        work.secrets.revoke(Revocation(TWO, NOW, "bob", "too"))
    with store.read() as work:
        assert work.secrets.revocations() == (Revocation(TWO, NOW, "bob", "too"), first)


def test_what_was_given_before_the_upgrade_is_read_from_the_deploys(tmp_path: Path, clock: SetClock) -> None:
    state = tmp_path / "state"
    store = open_store(state, clock)
    baseline, old, new = (
        release(u, secrets=s) for u, s in (("0", (NEXT,)), ("1", (ONE,)), ("2", (TWO, NEXT)))
    )
    with store.write() as work:
        for one in (baseline, old, new):
            work.releases.put(one)
        work.points.add(RestorePoint("rp-0", UNIT, baseline.digest, PointKind.BASELINE, NOW))
        for name, target in (("r-1", old), ("r-2", new), ("r-3", new)):
            work.rollouts.add(replace(rollout(name), target=target.digest))
    store.close()
    _back_to_revision_3(state)
    store = open_store(state, clock)
    with store.read() as work:
        found = work.secrets.sealings(UNIT)
    assert [(s.secret, s.by) for s in found] == [(TWO, "me"), (ONE, "me"), (NEXT, "lastgood")]
    assert {s.at for s in found} == {NOW}
    store.close()


def _back_to_revision_3(state: Path) -> None:
    old = engine(connector(state / NAME, "rw", 5.0), "BEGIN IMMEDIATE")
    with old.begin() as connection:
        for table in ("rehearsals", "captures", "sealings", "revocations"):
            connection.execute(text(f"DROP TABLE {table}"))
        command.stamp(migrate.config(connection), "0003")
    old.dispose()
