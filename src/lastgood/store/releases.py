"""Releases, and which one each unit was last brought to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select

from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.store import codec, rows, tables


class SqlReleases:
    """Implements ``ports.persistence.Releases``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, release: Release) -> None:
        """The content is kept once; its commit is the last one it came from, which is what a stale
        base is measured by.
        """
        table = tables.releases
        known = self._connection.scalar(select(table.c.commit_id).where(table.c.digest == release.digest))
        if known is not None and (known == release.commit or not release.commit):
            return
        rows.put(
            self._connection,
            table,
            "digest",
            release.digest,
            unit=str(release.unit),
            commit_id=release.commit,
            document=replace(release, commit=""),
        )

    def get(self, digest: str) -> Release:
        table = tables.releases
        whole = rows.by_digest(self._connection, table.c.digest, digest, noun="release")
        query = select(table.c.commit_id, table.c.document).where(table.c.digest == whole)
        row = self._connection.execute(query).one()
        release = replace(codec.load(Release, row.document), commit=row.commit_id)
        # Its name was given when it was made. A later version of lastgood may compute another one from the
        # same content, and must still find what the older one kept.
        release.__dict__["digest"] = whole
        return release

    def set_current(self, unit: UnitId, release: str, at: datetime) -> None:
        """Raises Conflict at the end of the transaction when the release is not kept by then."""
        rows.put(self._connection, tables.current_releases, "unit", str(unit), release=release, at=at)

    def current(self, unit: UnitId) -> str:
        table = tables.current_releases
        found = self._connection.scalar(select(table.c.release).where(table.c.unit == str(unit)))
        return found or ""

    def units(self) -> Sequence[UnitId]:
        found = self._connection.scalars(select(tables.current_releases.c.unit))
        return tuple(sorted(UnitId.parse(unit) for unit in found))
