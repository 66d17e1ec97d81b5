"""The few statements that several repositories need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, select, update

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

_PREFIX = re.compile(r"[0-9a-f]{6,64}")


def put(connection: Connection, table: Table, key: str, value: str, **columns: Any) -> None:
    """Insert, or replace the row whose ``key`` is ``value``; a replaced row keeps its place in time."""
    changed = connection.execute(update(table).where(table.c[key] == value).values(**columns))
    if changed.rowcount == 0:
        connection.execute(insert(table).values({key: value, **columns}))


def by_digest(connection: Connection, column: Column[str], digest: str, *, noun: str) -> str:
    """The one whole digest that ``digest`` (whole, or at least 6 hex digits) stands for.

    Raises InvalidInput when it stands for none or for several.
    """
    hexadecimal = digest.removeprefix("sha256:")
    if not _PREFIX.fullmatch(hexadecimal):
        raise InvalidInput(
            N_("'{digest}' does not name a {noun}"),
            todo=N_("Give its digest, or at least its first 6 hex digits."),
            digest=digest,
            noun=noun,
        )
    start = "sha256:" + hexadecimal
    # A range rather than LIKE: it uses the index of either database; 'g' follows every hex digit.
    query = select(column).where(column >= start, column < start + "g").order_by(column).limit(5)
    found = [str(name) for name in connection.scalars(query)]
    if not found:
        raise InvalidInput(
            N_("there is no {noun} {digest}"),
            todo=N_("See what there is with `lastgood history`."),
            digest=digest,
            noun=noun,
        )
    if len(found) > 1:
        raise InvalidInput(
            N_("{digest} may be any of several: {candidates}"),
            todo=N_("Give more digits of it."),
            digest=digest,
            candidates=", ".join(_apart(found)),
        )
    return found[0]


def unknown(noun: str, name: str) -> InvalidInput:
    return InvalidInput(
        N_("there is no {noun} {name}"),
        todo=N_("See what there is with `lastgood history`."),
        noun=noun,
        name=name,
    )


def _apart(digests: Sequence[str]) -> list[str]:
    """Shortened, but to no fewer digits than it takes to tell them apart."""
    names = [digest.removeprefix("sha256:") for digest in digests]
    enough = next(n for n in range(12, 65) if len({name[:n] for name in names}) == len(names))
    return [name[:enough] for name in names]
