"""The server's binary log, read as a replica reads it. Nothing is left on the server.

PyMySQL has no call for it; its two methods that send a command and read a packet are used, as the tools for
replication built on it do. Source: the replication protocol, ``COM_BINLOG_DUMP``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lastgood.drivers.mariadb.connection import PATIENCE

QUERY, ROTATE, FORMAT, XID, TABLE_MAP = 2, 4, 15, 16, 19
LOAD = 18
WRITE, UPDATE, DELETE = 23, 24, 25
XA_PREPARE, ANNOTATE, GTID = 38, 160, 162
COMPRESSED = frozenset({165, 166, 167, 168})
ENCRYPTED = 164

_DUMP = 0x12
_NON_BLOCK = 1
_HEADER = struct.Struct("<IBIIIH")
_EOF = 0xFE
CHECKSUM = 4


@dataclass(frozen=True, order=True)
class Position:
    """Of a file of the log and the byte in it; ``number`` is the file's, so that positions compare."""

    number: int
    offset: int
    file: str

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"

    @classmethod
    def read(cls, written: str) -> Position:
        """Of ``binlog.000003:4711``. Raises ValueError."""
        file, _, offset = written.rpartition(":")
        return cls.at(file, int(offset))

    @classmethod
    def at(cls, file: str, offset: int) -> Position:
        return cls(int(file.rpartition(".")[2]), offset, file)


@dataclass(frozen=True)
class Event:
    """``end``: behind it; ``seconds`` since the epoch; ``body`` is without header and checksum."""

    kind: int
    seconds: int
    flags: int
    end: Position
    body: bytes


class EndedEarly(Exception):
    """The log ended before the position that was asked for."""


def read(connect: Callable[[], Any], after: Position, up_to: Position) -> Iterator[Event]:
    """All events behind ``after`` that end at ``up_to`` or before, from a session of its own.

    Raises pymysql.Error, also where the server has no such position any more, and EndedEarly.
    """
    if up_to <= after:
        return
    connection = connect()
    try:
        with connection.cursor() as cursor:
            # Transactions as they are, not as a server of long ago had them.
            cursor.execute(
                "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @mariadb_slave_capability = 4"
            )
            # The server waits while what it sent is worked on.
            cursor.execute(f"SET SESSION net_write_timeout = {PATIENCE}")
            cursor.execute("SELECT @@GLOBAL.binlog_checksum")
            checked = str(cursor.fetchone()[0]) != "NONE"
        # The number 0 is no replica's: nobody else's session of that number is ended for it.
        request = struct.pack("<IHI", after.offset, _NON_BLOCK, 0) + after.file.encode()
        connection._execute_command(_DUMP, request)
        yield from _events(connection, after, up_to, CHECKSUM if checked else 0)
    finally:
        connection.close()


def _events(connection: Any, after: Position, up_to: Position, checksum: int) -> Iterator[Event]:
    """``checksum``: bytes behind each event, until the file says how many."""
    file, position = after.file, after
    while True:
        packet = connection._read_packet().get_all_data()
        if packet[0] == _EOF and len(packet) < 9:
            raise EndedEarly(f"the server sent its log only up to {position}, not to {up_to}")
        seconds, kind, _, _, end, flags = _HEADER.unpack_from(packet, 1)
        if kind == FORMAT:
            checksum = CHECKSUM if packet[-CHECKSUM - 1] else 0
        body = packet[20 : len(packet) - checksum]
        if kind == ROTATE:
            file = body[8:].decode()
            continue
        if kind == FORMAT or not end:
            continue
        position = Position.at(file, end)
        if position > up_to:
            return
        yield Event(kind, seconds, flags, position, body)
        if position == up_to:
            return
