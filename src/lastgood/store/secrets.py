"""Which unit was given which version of a secret, and what was revoked. Values are nowhere here."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from lastgood.domain.release import SecretVersion
from lastgood.domain.secret import Revocation, Sealing
from lastgood.domain.unit import UnitId
from lastgood.store import tables


class SqlSecrets:
    """Implements ``ports.persistence.Secrets``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def give(self, sealing: Sealing) -> None:
        table = tables.sealings
        secret, unit = sealing.secret, str(sealing.unit)
        query = (
            select(table.c.version, table.c.renewed)
            .where(table.c.unit == unit, table.c.name == secret.name)
            .order_by(table.c.seq.desc())
            .limit(1)
        )
        last = self._connection.execute(query).one_or_none()
        if last is not None and last.version == secret.version and (last.renewed or not sealing.renewed):
            return
        self._connection.execute(
            insert(table).values(
                name=secret.name, version=secret.version, unit=unit, at=sealing.at, by=sealing.by,
                renewed=sealing.renewed,
            )
        )  # fmt: skip

    def sealings(self, unit: UnitId | None = None, name: str = "") -> Sequence[Sealing]:
        table = tables.sealings
        query = select(table).order_by(table.c.seq.desc())
        if unit is not None:
            query = query.where(table.c.unit == str(unit))
        if name:
            query = query.where(table.c.name == name)
        return tuple(
            Sealing(SecretVersion(r.name, r.version), UnitId.parse(r.unit), r.at, r.by, r.renewed)
            for r in self._connection.execute(query)
        )

    def revoke(self, revocation: Revocation) -> None:
        if revocation.secret in {known.secret for known in self.revocations()}:
            return
        secret = revocation.secret
        self._connection.execute(
            insert(tables.revocations).values(
                name=secret.name, version=secret.version, at=revocation.at, by=revocation.by,
                reason=revocation.reason,
            )
        )  # fmt: skip

    def revocations(self) -> Sequence[Revocation]:
        query = select(tables.revocations).order_by(tables.revocations.c.seq.desc())
        return tuple(
            Revocation(SecretVersion(r.name, r.version), r.at, r.by, r.reason)
            for r in self._connection.execute(query)
        )
