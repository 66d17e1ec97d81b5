"""What registries and the way to them answer, as errors of ours."""

from __future__ import annotations

import ssl

import httpx

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_

_TOLD = 300


def reason(answer: httpx.Response) -> str:
    """What the registry says for people; the answer has been read."""
    try:
        errors = answer.json()["errors"]
        said = ", ".join(str(e.get("message") or e.get("code")) for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.text.strip()
    return "".join(c if c.isprintable() else " " for c in said)[:_TOLD] or answer.reason_phrase


def refused(answer: httpx.Response, host: str, subject: str, user: str) -> DriverError:
    """An answer that is no success, about ``subject`` (an image, or a blob of it)."""
    status = answer.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return forbidden(host, subject, user, reason(answer))
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        return Rejected(
            N_("the registry {host} has no {subject}: {reason}"),
            todo=N_("Look whether it was pushed, and under which name and tag."),
            where=host,
            cause=Cause.WRONG_PATH,
            host=host,
            subject=subject,
            reason=reason(answer),
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Unreachable(
            N_("the registry {host} takes no more requests now ({reason}); it says to wait {seconds} s"),
            todo=N_(
                "Wait, then do the same again; what was fetched is kept. A login often has a higher limit."
            ),
            where=host,
            cause=Cause.DEPENDENCY_DOWN,
            host=host,
            reason=reason(answer),
            seconds=answer.headers.get("Retry-After", "?"),
        )
    if answer.is_server_error:
        return Unreachable(
            N_("the registry {host} failed with {status}: {reason}"),
            todo=N_("Look at the registry, then do the same again; what was fetched is kept."),
            where=host,
            cause=Cause.DEPENDENCY_DOWN,
            host=host,
            status=status,
            reason=reason(answer),
        )
    return Rejected(
        N_("the registry {host} answered {status} for {subject}: {reason}"),
        todo=N_("Look at the registry: is it one (OCI distribution API, version 2)?"),
        where=host,
        host=host,
        status=status,
        subject=subject,
        reason=reason(answer),
    )


def forbidden(host: str, subject: str, user: str, said: str) -> Rejected:
    """``user`` is empty for everybody without a name."""
    nobody = N_("the registry {host} does not give {subject} to everybody: {reason}")
    known = N_("the registry {host} does not give {subject} to {user}: {reason}")
    login = N_("Add a login under hosts of the registry driver in lastgood.yaml; is the name right?")
    other = N_("Check name and password under hosts of the registry driver, and the right to pull.")
    return Rejected(
        known if user else nobody,
        todo=other if user else login,
        where=host,
        cause=Cause.PERMISSION,
        host=host,
        subject=subject,
        user=user,
        reason=said,
    )


def unreachable(error: httpx.RequestError, host: str) -> DriverError:
    """Nothing came back."""
    if _is_distrust(error):
        return Rejected(
            N_("the certificate of {host} can't be trusted: {reason}"),
            todo=N_("Name the authority's file as 'ca' in the settings of the registry driver."),
            where=host,
            host=host,
            reason=str(error),
        )
    return Unreachable(
        N_("the registry {host} does not answer: {reason}"),
        todo=N_(
            "Look whether it runs and its name is known here; one without TLS is listed under 'insecure' in "
            "the settings of the registry driver."
        ),
        where=host,
        cause=Cause.DEPENDENCY_DOWN,
        host=host,
        reason=str(error) or type(error).__name__,
    )


def cut_off(host: str, subject: str, got: int, said: str) -> OutcomeUnknown:
    """Some of the answer came. Nothing was changed there, and half a blob is not kept here."""
    return OutcomeUnknown(
        N_("{host} was cut off in the middle of {subject}, after {got} bytes: {reason}"),
        todo=N_("Do the same again: whole blobs are kept and not fetched twice."),
        where=host,
        cause=Cause.DEPENDENCY_DOWN,
        host=host,
        subject=subject,
        got=got,
        reason=said,
    )


def untrue(host: str, subject: str, seen: str) -> Rejected:
    """The registry (or somebody on the way) hands out something else than was asked for."""
    return Rejected(
        N_("what {host} hands out as {subject} is {seen}"),
        todo=N_("The registry or a proxy before it is damaged or lies: look at it before trying again."),
        where=host,
        host=host,
        subject=subject,
        seen=seen,
    )


def _is_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
