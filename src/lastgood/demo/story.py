"""The story of the demonstration: a good release, a bad one, and the way back. Act by act, on real parts."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lastgood.demo import estate
from lastgood.demo.acts import DE, DEV, JP, LINGER, STAGING, US, WINDOWS, Acts
from lastgood.demo.world import World, start_world
from lastgood.domain.message import N_


class Story(Acts):
    """Processes behind Caddy, from dev to staging to prod."""

    database = estate.POSTGRESQL

    def _open(self) -> World:
        self._act(N_("A world starts: PostgreSQL, Caddy, an estate in Git"))
        return start_world(self._directory)

    def _play(self) -> None:
        self._write_estate()
        self._good_release()
        self._bad_release()

    def _write_estate(self) -> None:
        world = self._world
        estate.write_estate(
            world.estate, database_url_base=world.database_server, caddy_admin=world.servers["caddy"],
            pointers_dir=world.pointers, files_root=world.files_root, process_root=world.process_root,
            ports=world.ports, python=sys.executable, windows=WINDOWS,
            payment_key_file=world.payment_key_file, database=self.database,
        )  # fmt: skip
        self._told.good_commit = estate.commit_good(world.estate)

    def _good_release(self) -> None:
        self._act(N_("A good release goes from dev to staging to prod, site by site"))
        why = {"reason": "open the shop", "owner": "shop-team", "impact": "all sites"}
        for stage in ((DEV,), (STAGING,), (US, DE, JP)):
            with ThreadPoolExecutor(len(stage)) as pool:
                list(pool.map(lambda unit: self._deploy("good", unit, why), stage))
            for unit in stage:
                self._must_be_verified("good", unit)

    def _bad_release(self) -> None:
        self._act(N_("A bad release: code, payment setting, schema. Dev and staging see nothing"))
        self._told.bad_commit = self._commit_bad()
        why = {"reason": "gift notes", "owner": "shop-team", "impact": "checkout"}
        for unit in (DEV, STAGING):
            self._deploy("bad", unit, why)
            self._must_be_verified("bad", unit)
        self._act(N_("It reaches prod/us: healthy, but one checkout in five fails"))
        self._told.failed = self._deploy("bad", US, why)
        time.sleep(LINGER)

    def _commit_bad(self) -> str:
        return estate.commit_bad(self._world.estate, self.database)


class MariadbStory(Story):
    """The same with MariaDB in the place of PostgreSQL."""

    database = estate.MARIADB

    def _open(self) -> World:
        self._act(N_("A world starts: MariaDB, Caddy, an estate in Git"))
        return start_world(self._directory, database=estate.MARIADB)
