"""What is set aside is kept, found while it is in force, and is there after an upgrade of the schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from alembic import command

from lastgood.domain.message import Message
from lastgood.domain.quarantine import Quarantine, QuarantineKind
from lastgood.store import migrate
from lastgood.store.database import NAME, SqlStore, open_store
from lastgood.store.engines import connector, engine
from tests.store.conftest import SetClock
from tests.store.making import NOW, UNIT, release

FIRST = Quarantine(
    "q-r1-image", QuarantineKind.IMAGE, "sha256:" + "a" * 64, Message("{n} failed", {"n": 3}), "lastgood",
    NOW, unit=str(UNIT), incident="in-r1",
)  # fmt: skip
SECOND = Quarantine("q-1", QuarantineKind.COMMIT, "c1", Message("seen"), "ann", NOW, "storefront")


def test_what_is_set_aside_is_kept_until_it_is_lifted(store: SqlStore) -> None:
    with store.write() as work:
        work.quarantine.put(FIRST)
        work.quarantine.put(SECOND)
        work.quarantine.put(FIRST)
    lifted = replace(FIRST, lifted_at=NOW, lifted_by="ann", lifted_reason="a wrong address")
    with store.write() as work:
        assert work.quarantine.list() == (SECOND, FIRST)
        work.quarantine.put(lifted)
    with store.read() as work:
        assert work.quarantine.list() == (SECOND,)
        assert work.quarantine.list(lifted=True) == (SECOND, lifted)


def test_a_state_of_the_version_before_is_brought_along(tmp_path: Path, clock: SetClock) -> None:
    state = tmp_path / "state"
    open_store(state, clock).close()
    (state / NAME).write_bytes(b"")
    old = engine(connector(state / NAME, "rw", 5.0), "BEGIN IMMEDIATE")
    with old.begin() as connection:
        command.upgrade(migrate.config(connection), "0001")
    old.dispose()
    store = open_store(state, clock)
    with store.write() as work:
        work.releases.put(release())
        work.quarantine.put(FIRST)
        assert work.quarantine.list() == (FIRST,)
    store.close()
