"""What was captured since the cut, brought into the copy: in batches, each committed with its position."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lastgood.domain.salvage import Salvage
from lastgood.drivers.postgresql import changes, contents, early, publication, sequences
from lastgood.drivers.postgresql.carrying import Carrier
from lastgood.drivers.postgresql.changes import Transaction
from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.drivers.postgresql.entries import Places, highest
from lastgood.drivers.postgresql.ledger import Ledger
from lastgood.drivers.postgresql.shapes import Shapes, read_shapes

BATCH = 10_000
"""Changes after which a batch is committed, with the transaction that is then complete."""

CLOSE = 0.1
PASSES = 12
LESS = 0.9
"""Seconds of a pass after which little is left; how many there are at most; and the part of the pass before
that one must stay under to be worth another.
"""


@dataclass
class Salvager:
    """Reads the capture ``capture`` (slot and publication) of the live database by a slot of its own,
    ``slot``, that moves on with the copy: so the last call, inside the fence, reads what is new and no more.
    """

    live: Connection
    copy: Connection
    ledger: Ledger
    capture: str
    slot: str
    keep: frozenset[str]
    _carrier: Carrier | None = None

    def carry_over(self, *, last: bool = False) -> Salvage:
        """Everything acknowledged before this call; the slot is left where it is after the ``last`` time.
        Raises psycopg.Error; what is committed stays.
        """
        position = changes.now(self.live)
        if not one(
            self.live, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)", self.slot
        ):
            changes.branch(self.live, self.capture, self.slot)
        carrier = self._carrier = self._carrier or self._begin()
        stream = early.transactions(
            self.live, self.slot, self.capture, after=self.ledger.position, up_to=position
        )
        keys = changes.partition_keys(self.live)
        for batch in _batches(changes.rejoined(t, keys) for t in stream):
            self._commit(carrier, batch, batch[-1].end)
        self._commit(carrier, [], position)
        if not last:
            changes.advance(self.live, self.slot, position)
        return self.ledger.salvage()

    def catch_up(self) -> None:
        """Carry over until little is left, so that nobody is held up by what was written before.

        Each pass only has what was written during the one before; where writers are as fast as we are, it
        does not get less, or even more each time, and the fence takes as long as the last one did.
        """
        last = math.inf
        for _ in range(PASSES):
            begun = time.monotonic()
            changes.settle(self.live)
            self.carry_over()
            took = time.monotonic() - begun
            if took < CLOSE or took > LESS * last:
                return
            last = took

    def _begin(self) -> Carrier:
        notes = publication.read(self.live, self.capture)
        names = {} if notes is None else {oid: _split(name) for oid, name in notes.tables.items()}
        shapes, now = (self._shapes(connection) for connection in (self.copy, self.live))
        places = Places(shapes, now, self.keep, names, sequences.serials(self.copy))
        return Carrier(self.copy, shapes, places, self.ledger)

    @staticmethod
    def _shapes(connection: Connection) -> Shapes:
        with connection.transaction():
            # Types of other schemas come with their schema.
            contents.whole_rows(connection)
            return read_shapes(connection)

    def _commit(self, carrier: Carrier, batch: list[Transaction], position: str) -> None:
        with self.copy.transaction():
            # The slot moves on only behind what is on the disk, whatever the database's settings say.
            self.copy.execute("SET LOCAL synchronous_commit = on; SET LOCAL lc_monetary = 'C'")
            contents.whole_rows(self.copy)
            if batch:
                carrier.carry(batch)
                highest(batch, carrier.places, self.ledger.numbers)
            self.ledger.position = position
            self.ledger.write()


def _batches(stream: Iterator[Transaction]) -> Iterator[list[Transaction]]:
    """A migration is a batch of its own."""
    batch: list[Transaction] = []
    size = 0
    for transaction in stream:
        if batch and (transaction.own or batch[-1].own or size >= BATCH):
            yield batch
            batch, size = [], 0
        batch.append(transaction)
        size += len(transaction.changes)
    if batch:
        yield batch


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.partition(".")
    return schema, table
