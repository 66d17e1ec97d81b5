"""What was captured since the cut, brought into the copy: in batches, each committed with its position."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.salvage import Salvage
from lastgood.drivers.mariadb import changes, statements
from lastgood.drivers.mariadb.binlog import Position
from lastgood.drivers.mariadb.carrying import Carrier
from lastgood.drivers.mariadb.changes import Parser, Renamed
from lastgood.drivers.mariadb.connection import Connection, run
from lastgood.drivers.mariadb.ledger import Ledger
from lastgood.drivers.mariadb.shapes import Shapes
from lastgood.drivers.mariadb.statements import Places
from lastgood.sql.changes import Kind, Transaction

BATCH = 2_000
"""Changes after which a batch is committed, with the transaction that is then complete."""

CLOSE = 0.1
PASSES = 12
SHRINKS = 0.8
"""Seconds of a pass after which little is left; passes at most; and by how much each has to be shorter than
the one before, for else it won't get less."""


@dataclass
class Salvager:
    """Reads the log of the database ``now.schema`` through sessions of ``connect``, into the copy ``shapes``
    that ``ledger`` is in.
    """

    live: Connection
    connect: Callable[[], Any]
    ledger: Ledger
    shapes: Shapes
    now: Shapes
    keep: frozenset[str]
    charsets: Mapping[int, str] = field(init=False)
    sequences: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        # Asked before the tables are closed.
        self.charsets = changes.charsets(self.live)
        self.sequences = changes.sequences(self.live, self.now.schema, self.shapes.schema)

    def carry_over(self) -> Salvage:
        """Everything acknowledged before this call. Raises pymysql.Error and Incomplete; what is committed
        stays.
        """
        position = changes.now(self.live)
        places = Places(set(self.ledger.places.absent), set(self.ledger.places.replaced))
        parser = Parser(self.now.schema, self.charsets, self.sequences, places=places)
        carrier = Carrier(self.ledger.connection, self.shapes, self.now, self.keep, self.ledger)
        after = Position.read(self.ledger.position)
        stream = changes.read(self.connect, parser, after, position)
        for batch, end in _batches(stream, parser):
            self._commit(carrier, batch, end, places)
        numbers = self.ledger.numbers
        numbers |= {name: max(n, numbers.get(name, n)) for name, n in parser.advanced.items()}
        self._commit(carrier, [], str(position), places)
        return self.ledger.salvage()

    def catch_up(self) -> None:
        """Carry over until little is left, so that nobody is held up by what was written before.

        Each pass only has what was written during the one before; where writers are as fast as we are, it
        does not get less, and that is the time that the fence takes.
        """
        before = math.inf
        for _ in range(PASSES):
            begun = time.monotonic()
            self.carry_over()
            took = time.monotonic() - begun
            if took < CLOSE or took > SHRINKS * before:
                return
            before = took

    def _commit(self, carrier: Carrier, batch: list[Transaction | Renamed], end: str, places: Places) -> None:
        connection = self.ledger.connection
        run(connection, "START TRANSACTION")
        for found in batch:
            if isinstance(found, Renamed):
                carrier.flush()
                statements.follow(self.ledger.names, found.pairs, self.shapes.tables)
            else:
                carrier.carry(found)
                self._note_numbers(found)
        carrier.flush()
        self.ledger.position, self.ledger.places = end, places
        self.ledger.write()
        run(connection, "COMMIT")

    def _note_numbers(self, transaction: Transaction) -> None:
        """The highest number that anybody gave to a row."""
        numbers = self.ledger.numbers
        for change in transaction.changes:
            if change.kind is not Kind.INSERT:
                continue
            name = self.ledger.names.get(change.relation.name, change.relation.name)
            shape = self.shapes.tables.get(name)
            value = change.new.get(shape.numbered) if shape is not None and shape.numbered else None
            if value is not None and float(value) > numbers.get(name, 0):
                numbers[name] = int(float(value))


def _batches(
    stream: Iterator[Transaction | Renamed], parser: Parser
) -> Iterator[tuple[list[Transaction | Renamed], str]]:
    """Each with the position behind it."""
    batch: list[Transaction | Renamed] = []
    size = 0
    for found in stream:
        batch.append(found)
        size += len(found.changes) if isinstance(found, Transaction) else 1
        if size >= BATCH and not parser.holds:
            yield batch, found.end
            batch, size = [], 0
    if batch:
        yield batch, batch[-1].end
