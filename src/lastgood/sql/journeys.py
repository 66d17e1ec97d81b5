"""Journeys: rows written as a release's code writes them, on a copy. How a script runs is the driver's."""

from __future__ import annotations

from typing import Protocol

from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.message import N_, Message
from lastgood.ports.rehearsing import Journey


class Writer(Protocol):
    """Runs journeys on the copy."""

    def run(self, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
        """As code would: in a transaction of its own, which is committed when it is to ``keep`` what it
        wrote. Returns what failed; raises InvalidInput when it can't be run, Unreachable when the server went
        away.
        """


def write_new(writer: Writer, journey: Journey, address: str) -> None:
    """Run that of the release that brings the migrations, twice: what is tried later has to be repeatable.

    Raises Rejected.
    """
    for template in (
        N_("{file} fails on the new schema: {error}"),
        N_("{file} can't be run twice: {error}"),
    ):
        failed = writer.run(journey, times=1, keep=True)
        if failed is not None:
            raise Rejected(
                template,
                todo=N_("It writes rows as the new code does, with new keys each time. Nothing was changed."),
                where=address,
                cause=Cause.SCRIPT_ERROR,
                file=name_of(journey),
                error=failed.what,
            )


def untried(writer: Writer, journey: Journey) -> Message:
    """Why it proves nothing, for it fails where its own code runs; empty when it can be relied on.

    Nothing of what it writes is kept.
    """
    try:
        failed = writer.run(journey, times=2, keep=False)
    except InvalidInput as unfit:
        return unfit.what
    return failed.what if failed is not None else Message("")


def refuse_schema(what: str, address: str) -> Rejected:
    """What to raise when a journey changes more than rows."""
    return Rejected(
        N_("a journey.sql changes the schema: {difference}"),
        todo=N_("Let it write rows only; what changes the schema is a migration."),
        where=address,
        cause=Cause.SCRIPT_ERROR,
        difference=what,
    )


def name_of(journey: Journey) -> str:
    """Its script, for people."""
    return f"journey.sql of {journey.whose}"
