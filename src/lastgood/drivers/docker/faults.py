"""What the engine and the way to it refuse, said in the product's own errors; mapped here only."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker import errors as vendor

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_

TROUBLE = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    vendor.DockerException,
    OSError,
)
NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
    ConnectionRefusedError,
    FileNotFoundError,
)
FULL = "no space left on device"
DENIED = ("unauthorized", "authentication required", "access denied", "no basic auth credentials")
ABSENT = ("manifest unknown", "not found")


@contextmanager
def mapped(host: str, call: str, *, changes: bool) -> Iterator[None]:
    """Turn every vendor error of one call to the engine at ``host`` into ours.

    ``changes``: the call changes something, so that no answer means that nobody knows.
    """
    try:
        yield
    except vendor.APIError as error:
        raise answered_no(host, call, error.status_code or 0, explanation(error)) from None
    except TROUBLE as error:
        raise _no_answer(host, call, changes, error) from error


def explanation(error: vendor.APIError) -> str:
    """What the engine said, in one line; never what it was sent."""
    return " ".join(str(error.explanation or error).split())


def answered_no(host: str, call: str, status: int, reason: str) -> Rejected:
    """The engine's own words, and the next thing to do where they are known."""
    lowered = reason.lower()
    cause, todo = None, N_("Mend what the engine names, then run it again; its own log says more.")
    if FULL in lowered:
        todo = N_(
            "Free space on the engine's disk (docker system df shows what takes it), then run it again."
        )
    elif any(word in lowered for word in DENIED):
        cause, todo = (
            Cause.PERMISSION,
            N_("Run docker login as the user that runs lastgood, then run it again."),
        )
    elif any(word in lowered for word in ABSENT):
        cause = Cause.WRONG_PATH
    return Rejected(
        N_("the docker engine refused {call}: {reason}"),
        todo=todo,
        where=host,
        cause=cause,
        call=call,
        reason=reason,
        status=status,
    )


def _no_answer(host: str, call: str, changes: bool, error: Exception) -> DriverError:
    chain = list(_chain(error))
    if any(isinstance(link, PermissionError) for link in chain):
        return Rejected(
            N_("this user may not talk to the docker engine at {host}"),
            todo=N_("Run lastgood as a user of the group docker, or as root."),
            where=host,
            cause=Cause.PERMISSION,
            host=host,
        )
    reason = str(chain[-1]) or type(chain[-1]).__name__
    if isinstance(error, vendor.DockerException):  # the SDK itself, before it sent anything
        return answered_no(host, call, 0, reason)
    if any(isinstance(link, requests.exceptions.SSLError) for link in chain):
        return Rejected(
            N_("the docker engine at {host} does not prove who it is: {reason}"),
            todo=N_("Correct the files of the setting tls: ca must have signed the engine's certificate."),
            where=host,
            host=host,
            reason=reason,
        )
    if changes and not any(isinstance(link, NOT_SENT) for link in chain):
        return OutcomeUnknown(
            N_("the docker engine at {host} did not answer {call}: {reason}"),
            todo=N_("See whether the engine runs: docker info. Then run it again, it looks first."),
            where=host,
            host=host,
            call=call,
            reason=reason,
        )
    return Unreachable(
        N_("the docker engine at {host} can't be reached: {reason}"),
        todo=N_("See whether it runs: docker info with DOCKER_HOST set to it."),
        where=host,
        cause=Cause.DEPENDENCY_DOWN,
        host=host,
        reason=reason,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies behind it, the deepest last; urllib3 keeps some in ``args`` only."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        inner = [a for a in (*link.args, getattr(link, "reason", None)) if isinstance(a, BaseException)]
        behind = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        link = inner[0] if inner else behind
