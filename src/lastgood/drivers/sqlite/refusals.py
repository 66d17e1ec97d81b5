"""What is in the way of a restore, found before anything is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.sqlite.capture import virtual
from lastgood.drivers.sqlite.connection import Connection, Store, one, size
from lastgood.drivers.sqlite.references import Reference, read_references
from lastgood.drivers.sqlite.shapes import read_tables
from lastgood.sql.keeping import RESERVE

SHARES = 4
"""Of the live file's size: the copy, the failed database, the journal of the swap, and one to spare."""


def refuse(live: Connection, cut: Connection, address: str, keep: Sequence[str]) -> None:
    """``cut``: the snapshot. Raises Rejected with the first thing in the way."""
    tables = {**read_tables(cut), **read_tables(live)}
    unknown = [name for name in keep if name not in tables]
    if unknown:
        raise _rejected(
            address,
            N_("tables to be kept are not there: {tables}"),
            N_("Correct 'keep'."),
            tables=", ".join(unknown),
        )
    needed = unkept(read_references(cut, read_tables(cut)), keep) if keep else {}
    if needed:
        raise _rejected(
            address,
            N_("tables that are kept refer to tables that are not: {tables}"),
            N_("Add them to 'keep': a row can't be carried over without the one it refers to."),
            tables=", ".join(f"{child} → {parent}" for parent, child in needed.items()),
        )
    found = sorted({*virtual(live), *virtual(cut)})
    if found:
        raise _rejected(
            address,
            N_("virtual tables can't be compared, so what is written to them would be lost: {tables}"),
            N_("Drop them, restore, and make them again; or go back by the migration's revert.sql."),
            tables=", ".join(found),
        )
    pages = [one(connection, "PRAGMA page_size") for connection in (live, cut)]
    if pages[0] != pages[1]:
        raise _rejected(
            address,
            N_("the file has pages of {now} bytes, and had pages of {then} at the snapshot"),
            N_("Set it back: PRAGMA page_size, then VACUUM."),
            now=pages[0], then=pages[1],
        )  # fmt: skip


def check_room(store: Store) -> None:
    """Raises Rejected when what a restore writes could fill the disk of the live file."""
    with store.session() as live:
        need = SHARES * size(live) + RESERVE
    free = shutil.disk_usage(store.path.parent).free
    if free < need:
        raise _rejected(
            store.spot.address,
            N_("a restore of {address} may need {need} MiB, and {free} MiB are free in {path}"),
            N_("Free space there, then try again; nothing was written."),
            need=need >> 20, free=free >> 20, path=str(store.path.parent),
        )  # fmt: skip


def unkept(references: Sequence[Reference], keep: Sequence[str]) -> dict[str, str]:
    """Tables that kept ones refer to, and that are not kept; each with one that refers to it."""
    kept = set(keep)
    return {
        reference.parent.name: reference.child.name
        for reference in references
        if reference.child.name in kept and reference.parent.name not in kept
    }


def _rejected(address: str, what: str, todo: str, **params: Any) -> Rejected:
    return Rejected(what, todo=todo, where=address, address=address, **params)
