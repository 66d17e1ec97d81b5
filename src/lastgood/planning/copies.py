"""How the copy of a change that moves data is kept: as a file alone, or loaded as well, beside the live
database. Chosen from size, room, rights and measured speed; the reader of the plan gets the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain.errors import NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import StepKind
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.warm_copy import Asked, CopyRoom

FEW = 5.0
"""Seconds of loading that nobody has to be spared."""
SMALL = 32 << 20
"""Bytes of a database that loads in about a second, where no load was measured."""

Timings = Callable[[StepKind], Sequence[float]]


@dataclass(frozen=True)
class CopyChoice:
    """``warm``: the copy is loaded with the snapshot. ``seconds``: how long loading it takes, None when that
    was never measured. ``asked``: the settings want it so, and a plan without it is none.
    """

    warm: bool
    reason: Message
    seconds: float | None = None
    asked: bool = False


def choose(room: CopyRoom, seconds: float | None, resource: str) -> CopyChoice:
    """``seconds``: how long a copy of this database took to load.

    Raises NotReversible where the settings ask for a warm copy that can't be made.
    """
    if room.asked is Asked.FILE:
        return CopyChoice(False, Message(N_("the settings say copy: file")), seconds)
    obstacle = _obstacle(room)
    if room.asked is Asked.WARM:
        if obstacle is not None:
            raise NotReversible(
                N_("a warm copy of {resource} can't be made, and its settings ask for one: {why}"),
                todo=N_("Mend that, or write copy: auto or copy: file there; nothing was changed."),
                where=resource,
                resource=resource,
                why=obstacle,
            )
        return CopyChoice(True, _as_asked(room), seconds, asked=True)
    if obstacle is None and room.free is None:
        obstacle = Message(
            N_("how much is free on the server can't be seen from here: write into the settings how many MiB "
               "its copies may take, copy_room: {need}, or copy: warm"),
            {"need": -(-room.needed >> 20)},
        )  # fmt: skip
    if obstacle is None:
        obstacle = _needless(room, seconds)
    if obstacle is not None:
        return CopyChoice(False, obstacle, seconds)
    if seconds is None:
        words = {"size": room.size >> 20}
        unknown = N_("it has {size} MiB, and how long its file takes to load was never measured")
        return CopyChoice(True, Message(unknown, words))
    saved = Message(N_("its file takes about {seconds} s to load"), {"seconds": f"{seconds:.0f}"})
    return CopyChoice(True, saved, seconds)


def loading(resource: str, rehearsed: Mapping[str, Rehearsed], timings: Timings) -> float | None:
    """Seconds that a copy of all of ``resource`` took: in the rehearsal for this plan, else on this unit
    before.
    """
    one = rehearsed.get(resource)
    if one is not None and not one.sample:
        tried = sum(one.deploy_seconds.values()) + sum(one.revert_seconds.values())
        return max(one.seconds - tried, 0.0)
    known = sorted(timings(StepKind.WARM_COPY))
    return known[len(known) // 2] if known else None


def copy_notes(choices: Mapping[str, CopyChoice], timings: Timings) -> list[Message]:
    """What going back will cost, before anybody agrees."""
    warm = N_(
        "Copy of {resource}: warm, loaded beside the live database before anything is changed ({time}), "
        "because {reason}. Going back then loads nothing, whatever the size: it carries over what was "
        "written since and swaps the names. Closed to its users for the tail and the swap alone: {fence}."
    )
    file = N_(
        "Copy of {resource}: a file, because {reason}. Going back loads it first ({time}), while the shop "
        "goes on. Closed to its users for the tail and the swap alone: {fence}."
    )
    fences = sorted(timings(StepKind.SWAP_DATABASE))
    fence = _time(fences[len(fences) // 2] if fences else None)
    return [
        Message(
            warm if one.warm else file,
            {"resource": resource, "reason": one.reason, "time": _time(one.seconds), "fence": fence},
        )
        for resource, one in choices.items()
    ]


def _obstacle(room: CopyRoom) -> Message | None:
    if room.obstacle is not None:
        return room.obstacle
    if room.free is not None and room.free < room.needed:
        return Message(
            N_("it needs about {need} MiB on the server with the log of its load, and {free} MiB are free"),
            {"need": room.needed >> 20, "free": room.free >> 20},
        )
    return None


def _as_asked(room: CopyRoom) -> Message:
    if room.free is None:
        return Message(
            N_("the settings say copy: warm; how much is free on the server can't be seen from here")
        )
    return Message(N_("the settings say copy: warm"))


def _needless(room: CopyRoom, seconds: float | None) -> Message | None:
    if seconds is not None and seconds <= FEW:
        return Message(N_("it loads in about {seconds} s"), {"seconds": f"{seconds:.1f}"})
    if seconds is None and room.size < SMALL:
        return Message(N_("it has {size} MiB only"), {"size": room.size >> 20})
    return None


def _time(seconds: float | None) -> Message:
    if seconds is None:
        return Message(N_("never measured here"))
    return Message(
        N_("about {seconds} s"), {"seconds": f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"}
    )
