"""What a database refuses, in our words. Which of its codes means what is the driver's to say."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.domain.errors import Cause, Rejected, Unreachable
from lastgood.domain.message import N_


@dataclass(frozen=True)
class Spot:
    """Where an error was met: ``address`` for people, and the script's file and line if there is one."""

    address: str
    user: str
    file: str = ""
    line: int = 0
    statement: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.file else self.address


def table_lock(error: str, blockers: str, spot: Spot, *, listing: str) -> Rejected:
    """``listing``: where the server shows its sessions, for when nobody was seen in the way."""
    if blockers:
        return Rejected(
            N_("{place} waits for a lock held by another session: {blockers}"),
            todo=N_("Wait for that session to finish, or end it, then try again."),
            where=spot.where,
            cause=Cause.TABLE_LOCK,
            place=spot.where,
            blockers=blockers,
        )
    return Rejected(
        N_("{place} did not get its lock: {error}"),
        todo=N_("Look for long sessions in {listing}, then try again."),
        where=spot.where,
        cause=Cause.TABLE_LOCK,
        place=spot.where,
        error=error,
        listing=listing,
    )


def down(error: str, spot: Spot) -> Unreachable:
    return Unreachable(
        N_("the database server {address} does not answer: {error}"),
        todo=N_("See that it runs and accepts connections, then try again."),
        where=spot.address,
        cause=Cause.DEPENDENCY_DOWN,
        address=spot.address,
        error=error,
    )


def login(error: str, spot: Spot, *, todo: str) -> Rejected:
    return Rejected(
        N_("the database server {address} does not let '{user}' in: {error}"),
        todo=todo,
        where=spot.address,
        cause=Cause.PERMISSION,
        address=spot.address,
        user=spot.user,
        error=error,
    )


def no_database(error: str, spot: Spot) -> Rejected:
    return Rejected(
        N_("the database is not on the server {address}: {error}"),
        todo=N_("Check the database name in the url."),
        where=spot.address,
        cause=Cause.WRONG_PATH,
        address=spot.address,
        error=error,
    )


def rights(error: str, spot: Spot, *, right: str) -> Rejected:
    """``right``: the missing one, as far as it is known."""
    return Rejected(
        N_("'{user}' lacks a right in {address}: {error}"),
        todo=N_("Give it the missing right ({right}), or use a user that has it."),
        where=spot.where,
        cause=Cause.PERMISSION,
        user=spot.user,
        address=spot.address,
        error=error,
        right=right,
    )


def refused(error: str, spot: Spot, *, todo: str, script: bool) -> Rejected:
    """``script``: whether it is the script's own error, and not the server's state."""
    if not spot.file:
        return Rejected(
            N_("the database {address} refused: {error}"),
            todo=todo,
            where=spot.address,
            address=spot.address,
            error=error,
        )
    return Rejected(
        N_("{file} fails in line {line}: {error}"),
        todo=todo,
        where=spot.where,
        cause=Cause.SCRIPT_ERROR if script else None,
        file=spot.file,
        line=spot.line,
        error=error,
    )
