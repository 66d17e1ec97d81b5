"""What servers keep for us is known until it is ended, and is there after an upgrade of the schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from alembic import command

from lastgood.domain.capture import Capture
from lastgood.domain.message import Message
from lastgood.store import migrate
from lastgood.store.database import NAME, SqlStore, open_store
from lastgood.store.engines import connector, engine
from tests.store.conftest import SetClock
from tests.store.making import NOW, UNIT

FIRST = Capture("s1", "shop@prod", str(UNIT), "r1", NOW, ("0001_init",), ("0002_prices",))
SECOND = Capture("s2", "stock@prod", str(UNIT), "r2", NOW)


def test_what_is_kept_is_known_until_it_is_ended(store: SqlStore) -> None:
    with store.write() as work:
        for one in (FIRST, SECOND, FIRST):
            work.captures.put(one)
    ended = replace(FIRST, ended_at=NOW, ended_because=Message("{rollout} is good", {"rollout": "r1"}))
    with store.write() as work:
        assert work.captures.list() == (SECOND, FIRST)
        work.captures.put(ended)
    with store.read() as work:
        assert work.captures.list() == (SECOND,)
        assert work.captures.list(ended=True) == (SECOND, ended)


def test_a_state_of_the_version_before_is_brought_along(tmp_path: Path, clock: SetClock) -> None:
    state = tmp_path / "state"
    open_store(state, clock).close()
    (state / NAME).write_bytes(b"")
    old = engine(connector(state / NAME, "rw", 5.0), "BEGIN IMMEDIATE")
    with old.begin() as connection:
        command.upgrade(migrate.config(connection), "0003")
    old.dispose()
    store = open_store(state, clock)
    with store.write() as work:
        work.captures.put(FIRST)
        assert work.captures.list() == (FIRST,)
    store.close()
