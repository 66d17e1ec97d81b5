"""Plans that were shown, so that exactly what was shown can be run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from lastgood.domain.plan import Plan
from lastgood.domain.release import Release
from lastgood.store import codec, rows, tables


class SqlPlans:
    """Kept by digest with the releases they lead from and to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, plan: Plan, release: Release, base: Release | None, at: datetime) -> None:
        rows.put(
            self._connection,
            tables.plans,
            "digest",
            plan.digest,
            shown_at=at,
            document=plan,
            release=release,
            base=base,
        )

    def get(self, digest: str) -> tuple[Plan, Release, Release | None]:
        """By digest or unique prefix; raises InvalidInput when unknown."""
        table = tables.plans
        whole = rows.by_digest(self._connection, table.c.digest, digest, noun="plan")
        query = select(table.c.document, table.c.release, table.c.base).where(table.c.digest == whole)
        row = self._connection.execute(query).one()
        base = None if row.base is None else codec.load(Release, row.base)
        return codec.load(Plan, row.document), codec.load(Release, row.release), base
