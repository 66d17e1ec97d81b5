"""The whole error tree. The exit codes are part of the product's interface.

Every error says what happened, where, and what to do next. Templates are marked with ``N_`` so
that a face can show them in the reader's language.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

from lastgood.domain.message import Message


class Cause(str, Enum):
    """The five classic causes of a failed rollback (R25), named when they are met."""

    PERMISSION = "permission"
    DEPENDENCY_DOWN = "dependency_down"
    SCRIPT_ERROR = "script_error"
    TABLE_LOCK = "table_lock"
    WRONG_PATH = "wrong_path"


class LastgoodError(Exception):
    """Base of everything that is reported to a user without a stack trace.

    ``what`` and ``todo`` are templates filled from ``params``; ``where`` is a plain place: a unit,
    ``file:line`` or an address.
    """

    exit_code: ClassVar[int] = 1
    own_state: bool = False
    """True when our own store failed: it says nothing of the target, and never fails a rollout."""

    def __init__(
        self,
        what: str,
        *,
        todo: str = "",
        where: str = "",
        cause: Cause | None = None,
        **params: Any,
    ) -> None:
        self.what = Message(what, params)
        self.todo = Message(todo, params)
        self.where = where
        self.cause = cause
        super().__init__(str(self.what))

    def about(self, subject: str) -> None:
        """Say whom it is about, where one of many failed and that is not said already."""
        if subject != self.where and subject not in str(self.what):
            self.what = Message("{subject}: {what}", {"subject": subject, "what": self.what})
            self.args = (str(self.what),)
        self.where = self.where or subject


class InvalidInput(LastgoodError):
    """The request or a file is wrong; nothing was done."""

    exit_code = 2


class NotAllowed(LastgoodError):
    """The caller lacks the right; nothing was done."""

    exit_code = 3


class Conflict(LastgoodError):
    """Locked, stale base, frozen, or drifted: somebody else's state is in the way."""

    exit_code = 4


class SecretRevoked(Conflict):
    """A version of a secret was revoked that something was about to run with."""


class GateFailed(LastgoodError):
    """The criteria were measured and broken."""

    exit_code = 5


class GateInconclusive(LastgoodError):
    """There was not enough evidence to call it good or bad."""

    exit_code = 6


class NotReversible(LastgoodError):
    """There is no proven way back, so the change is refused."""

    exit_code = 7


class DriverError(LastgoodError):
    """A target did not do what it was asked."""

    exit_code = 8


class Unreachable(DriverError):
    """The target did not answer and nothing was sent: trying again is safe."""


class Rejected(DriverError):
    """The target answered no: trying again will not help."""


class NeverReady(Rejected):
    """What was started did not get ready, or ended: its own fault, so that it is set aside."""


class OutcomeUnknown(DriverError):
    """Sent but unanswered: look at the target before doing anything else."""

    exit_code = 9


class RollbackIncomplete(LastgoodError):
    """The way back stopped half way; the message says what is left to do by hand."""

    exit_code = 10
