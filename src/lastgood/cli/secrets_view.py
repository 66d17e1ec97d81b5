"""Versions of secrets, as a list and after a change of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from lastgood.cli.words import moment
from lastgood.domain.message import N_
from lastgood.domain.secret import Renewed, Revocation, Revoked, VersionStatus, shown
from lastgood.domain.unit import named
from lastgood.translation import Translator

LISTED = 6
"""How many restore points are listed."""


def version_lines(t: Translator, found: Sequence[VersionStatus]) -> Iterator[Text]:
    """A heading for each name, then its versions, the newest first."""
    name = ""
    for status in found:
        if status.secret.name != name:
            name = status.secret.name
            yield Text(name, "bold")
        yield from _version(t, status)


def _version(t: Translator, status: VersionStatus) -> Iterator[Text]:
    style = "red" if status.revocation else "green" if status.newest_for else ""
    mark = "⊘" if status.revocation else "●" if status.newest_for else "○"
    head = Text(f"  {mark} {shown(status.secret.version)}", style)
    head.append(t.text(N_("  sealed {time}"), time=moment(status.sealed_at)), "dim")
    if status.newest_for:
        head.append(t.text(N_("  newest for {units}"), units=named(status.newest_for)), "green")
    yield head
    if status.revocation:
        yield Text("    " + _revoked(t, status.revocation), "red")
    if status.units:
        style = "red" if status.revocation else ""
        yield Text("    " + t.text(N_("runs on {units}"), units=named(status.units)), style)
    if status.points:
        points = ", ".join(status.points[:LISTED]) + (" …" if len(status.points) > LISTED else "")
        yield Text("    " + t.text(N_("restore points: {points}"), points=points), "dim")
    if status.revocation:
        for directory in status.bundles:
            yield Text("    " + t.text(N_("still in the restore bundle {path}"), path=directory), "red")


def _revoked(t: Translator, revocation: Revocation) -> str:
    template = N_("revoked {time} by {by}: {reason}")
    return t.text(template, time=moment(revocation.at), by=revocation.by, reason=revocation.reason)


def revoked_lines(t: Translator, revoked: Revoked) -> Iterator[Text]:
    """What is revoked, and what is left to do."""
    for revocation in revoked.revocations:
        words = {"name": revoked.name, "version": shown(revocation.secret.version)}
        if revocation.secret.version in revoked.known:
            again = N_("{name} {version} is revoked already: {since}")
            yield Text(t.text(again, **words, since=_revoked(t, revocation)), "yellow")
        else:
            yield Text(t.text(N_("{name} {version} is revoked: nothing goes back to it any more"), **words))
    for unit in revoked.running:
        template = N_(
            "! {unit} runs with it still: deploy the new value, or: lastgood heal {unit} starts it with the "
            "newest valid one"
        )
        yield Text(t.text(template, unit=unit), "yellow")
    if revoked.without:
        template = N_(
            "! no valid version is left for {units}. Give the new value: lastgood secrets renew {name}"
        )
        yield Text(t.text(template, units=named(revoked.without), name=revoked.name), "bold red")
    for directory in revoked.bundles:
        yield Text(t.text(N_("its restore bundle was written anew: {path}"), path=directory))
    for left in revoked.bundles_left:
        template = N_("! the restore bundle {path} still holds it: {why}")
        yield Text(t.text(template, path=left.directory, why=t(left.why)), "bold red")


def renewed_lines(t: Translator, renewed: Renewed) -> Iterator[Text]:
    """For whom it is the newest, and what to do next."""
    words = {
        "name": renewed.secret.name,
        "version": shown(renewed.secret.version),
        "units": named(renewed.units),
    }
    known = N_("{name} {version} is the newest version for {units} already")
    yield Text(
        t.text(
            known if renewed.known else N_("{name} {version} is sealed as the newest version for {units}"),
            **words,
        )
    )
    if not renewed.known:
        template = N_("what was before may be revoked now: lastgood secrets revoke {name}")
        yield Text(t.text(template, name=renewed.secret.name), "dim")
