"""The audit chain: every record's hash covers the one before, and a head row says where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, String, Text, insert, select, type_coerce, update

from lastgood.domain.audit import AuditRecord, Phase
from lastgood.domain.digest import digest
from lastgood.domain.errors import DriverError
from lastgood.store import codec, tables

_NEVER = datetime.min.replace(tzinfo=UTC)


class SqlAudit:
    """Implements ``ports.persistence.Audit``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(
        self, *, actor: str, origin: str, verb: str, subject: str, phase: Phase, reason: str,
        data: Mapping[str, Any], at: datetime,
    ) -> AuditRecord:  # fmt: skip
        head = self._connection.execute(select(tables.audit_head).with_for_update()).one_or_none()
        record = AuditRecord(
            sequence=1 if head is None else head.sequence + 1,
            at=at.astimezone(UTC),
            actor=tables.well_formed(actor),
            origin=tables.well_formed(origin),
            verb=verb,
            subject=tables.well_formed(subject),
            phase=phase,
            reason=tables.well_formed(reason),
            # As it will be read back, or the hash would cover something that is nowhere.
            data=codec.parse(codec.text(data, invalid="replace")),
            previous="" if head is None else head.hash,
        )
        record = replace(record, hash=hash_of(record))
        self._connection.execute(insert(tables.audit).values(**{**asdict(record), "phase": phase.value}))
        values = {"sequence": record.sequence, "hash": record.hash, "at": record.at}
        if head is None:
            self._connection.execute(insert(tables.audit_head).values(id=1, **values))
        else:
            self._connection.execute(update(tables.audit_head).values(**values))
        return record

    def list(self, subject: str = "", limit: int = 100) -> Sequence[AuditRecord]:
        table = tables.audit
        query = select(table).order_by(table.c.sequence.desc()).limit(limit)
        if subject:
            query = query.where(table.c.subject == subject)
        return tuple(
            AuditRecord(**{**row._asdict(), "phase": Phase(row.phase)})
            for row in self._connection.execute(query)
        )

    def first_broken(self) -> AuditRecord | None:
        """Finds a record that was edited, removed, inserted or moved.

        When records were removed from the end, the answer is a stand-in for the first of them: its
        ``verb`` is ``missing`` and its ``data`` says how many are gone.
        """
        last = 0
        previous = ""
        for record in self._raw():
            if record.sequence != last + 1 or record.previous != previous or record.hash != hash_of(record):
                return record
            last, previous = record.sequence, record.hash
        return self._beyond(last, previous)

    def _beyond(self, last: int, previous: str) -> AuditRecord | None:
        """Compare where the records end with where the head says they do."""
        head = self._connection.execute(select(tables.audit_head)).one_or_none()
        if (head is None and last == 0) or (
            head is not None and (head.sequence, head.hash) == (last, previous)
        ):
            return None
        return AuditRecord(
            sequence=last + 1,
            at=_NEVER if head is None else head.at,
            actor="",
            origin="",
            verb="missing",
            subject="",
            phase=Phase.OUTCOME,
            reason="",
            data={"records": 0 if head is None else head.sequence - last},
            previous=previous,
            hash="" if head is None else head.hash,
        )

    def _raw(self) -> Iterator[AuditRecord]:
        """Oldest first, without trusting that a field still holds what was written there."""
        table = tables.audit
        plain = [type_coerce(column, Text if column.name == "data" else String) for column in table.c]
        named = [column.label(f"c{position}") for position, column in enumerate(plain)]
        query = select(*named).order_by(table.c.sequence).execution_options(yield_per=500)
        for row in self._connection.execute(query):
            yield _distrusting(dict(zip(table.c.keys(), row, strict=True)))


def hash_of(record: AuditRecord) -> str:
    """Over everything in the record but the hash itself."""
    content = {name: value for name, value in vars(record).items() if name != "hash"}
    return digest(content)


def _distrusting(fields: dict[str, Any]) -> AuditRecord:
    try:
        return AuditRecord(
            **{
                **fields,
                "sequence": int(fields["sequence"]),
                "at": datetime.fromisoformat(fields["at"]),
                "phase": Phase(fields["phase"]),
                "data": codec.parse(fields["data"]),
            }
        )
    except (TypeError, ValueError, DriverError):
        known: dict[str, Any] = {name: str(value) for name, value in fields.items()}
        # No hash: a record that can't be read can't follow from anything.
        known |= {
            "sequence": fields["sequence"],
            "at": _NEVER,
            "phase": Phase.OUTCOME,
            "data": {},
            "hash": "",
        }
        return AuditRecord(**known)
