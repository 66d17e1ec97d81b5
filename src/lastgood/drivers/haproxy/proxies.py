"""Several HAProxies told as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lastgood.domain.errors import DriverError, OutcomeUnknown, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.runtime import RuntimeApi
from lastgood.drivers.haproxy.servers import View


class Proxies:
    """One undertaking at all HAProxies of a unit.

    Usually the first failure ends it: a change that nobody is in a hurry for is not done by halves. An
    ``urgent`` one is carried through where it can be, and ``conclude`` says where it could not.
    """

    def __init__(self, apis: Sequence[RuntimeApi], *, urgent: bool = False) -> None:
        self._apis = {api.address: api for api in apis}
        self._urgent = urgent
        self._failed: dict[str, DriverError] = {}
        self._sent = False

    def look(self) -> list[View]:
        """One view of each that answers, at least one. Raises Unreachable, Rejected, OutcomeUnknown."""
        views = []
        for address, api in self._apis.items():
            if address in self._failed:
                continue
            try:
                views.append(api.look())
            except DriverError as error:
                self._fail(address, error)
        if not views:
            raise next(iter(self._failed.values()))
        return views

    def change(self, views: Sequence[View], commands: Callable[[View], Sequence[str]]) -> bool:
        """Tell each what ``commands`` says of its view; False when there was nothing to tell."""
        told = False
        for view in views:
            todo = commands(view)
            if not todo:
                continue
            told = True
            try:
                self._apis[view.socket].change(todo)
                self._sent = True
            except OutcomeUnknown as error:
                self._sent = True
                self._fail(view.socket, error)
            except DriverError as error:
                self._fail(view.socket, error)
        return told

    def conclude(self) -> None:
        """Raises OutcomeUnknown when some did not follow."""
        if not self._failed:
            return
        error = next(iter(self._failed.values()))
        raise OutcomeUnknown(
            N_("{failed} of {count} HAProxies did not follow, the others send requests as wanted: {reason}"),
            todo=N_("Bring it back or take it out of 'sockets'; sending traffic again is safe."),
            where=", ".join(self._failed),
            cause=error.cause,
            failed=len(self._failed),
            count=len(self._apis),
            reason=str(error),
        ) from error

    def _fail(self, address: str, error: DriverError) -> None:
        if self._sent and isinstance(error, Unreachable):
            error = _after_sending(error)
        if not self._urgent:
            raise error
        self._failed[address] = error


def _after_sending(error: Unreachable) -> OutcomeUnknown:
    return OutcomeUnknown(
        N_("HAProxy went away while it was told where requests go: {reason}"),
        todo=N_("Look at the target first; sending traffic again is safe."),
        where=error.where,
        cause=error.cause,
        reason=str(error),
    )
