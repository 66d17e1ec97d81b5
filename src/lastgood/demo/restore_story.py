"""The story of data that is spoiled: no script takes that back, a restore does, with every order since."""

from __future__ import annotations

import time

import psycopg

from lastgood.demo import estate
from lastgood.demo.acts import DE, LINGER, US, step_time
from lastgood.demo.story import Story
from lastgood.demo.world import World, start_world
from lastgood.domain.message import N_, Message
from lastgood.domain.rollout import Mark
from lastgood.domain.unit import UnitId

LOGICAL = {"wal_level": "logical", "max_slot_wal_keep_size": "1GB"}
"""What PostgreSQL needs so that it can keep what is written after a snapshot."""
PRICES = "select sku, base_cents from products order by sku"


class RestoreStory(Story):
    """Processes behind Caddy; the bad release takes two digits off every price."""

    def _open(self) -> World:
        self._act(N_("A world starts: PostgreSQL, Caddy, an estate in Git"))
        return start_world(self._directory, LOGICAL)

    def _play(self) -> None:
        self._write_estate()
        self._good_release()
        self._bad_release()
        self._restore()

    def _commit_bad(self) -> str:
        return estate.commit_spoiled(self._world.estate)

    def _restore(self) -> None:
        self._act(N_("The shop is back, its prices are not: they are a hundredth of what they were"))
        service = self._service_here()
        planned = service.databases.plan_restore(US)
        counted = N_("written since, in {tables} tables: {rows} rows; all of them are carried over")
        rows = sum(table.rows for table in planned.writes.tables)
        words = {"tables": len(planned.writes.tables), "rows": rows}
        self._observer.outcome(Message(counted, words))
        self._act(N_("Back to before the migration, with every order since"))
        self._told.restored = service.databases.restore(US, reason="prices lost two digits").id
        self._follow("restore", US, self._told.restored)
        self._told.prices_back = _prices(self._world, US) == _prices(self._world, DE)
        time.sleep(LINGER)

    def _back_at(self) -> float | None:
        """While the database is closed requests fail: what counts is when the restore was verified."""
        return step_time(self._service_here(), self._told.restored, "verify", Mark.DONE)


def _prices(world: World, unit: UnitId) -> list[tuple[object, ...]]:
    """No bad release ever reached ``DE``: its prices are what they were."""
    with psycopg.connect(world.database_url(unit)) as connection:
        return connection.execute(PRICES).fetchall()
