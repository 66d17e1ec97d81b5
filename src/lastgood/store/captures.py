"""What servers keep for us of the writes after a cut."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from lastgood.domain.capture import Capture
from lastgood.store import codec, rows, tables


class SqlCaptures:
    """Implements ``ports.persistence.OpenCaptures``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, capture: Capture) -> None:
        rows.put(
            self._connection,
            tables.captures,
            "snapshot",
            capture.snapshot,
            resource=capture.resource,
            ended_at=capture.ended_at,
            document=capture,
        )

    def list(self, *, ended: bool = False) -> Sequence[Capture]:
        table = tables.captures
        query = select(table.c.document).order_by(table.c.seq.desc())
        if not ended:
            query = query.where(table.c.ended_at.is_(None))
        return tuple(codec.load(Capture, found) for found in self._connection.scalars(query))
