"""Follow a change: a table drawn live on a terminal, else a line for each unit that moves, or JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import typer

from lastgood.cli import words
from lastgood.cli.follow import INTERRUPTED
from lastgood.cli.outcome import change_exit_code
from lastgood.cli.session import Session
from lastgood.cli.wave_view import change_view, counted, unit_word
from lastgood.domain.change import ChangeState
from lastgood.domain.digest import plain
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.status import ChangeProgress

Progress = Iterator[ChangeProgress]


def until_guarding(progress: ChangeProgress) -> bool:
    """All waves have passed; only guard windows are still open."""
    return progress.change.state is ChangeState.GUARDING


def until_over(progress: ChangeProgress) -> bool:
    return False


def follow_change(
    session: Session, change: str, asked: PlanKind, wanted: Callable[[ChangeProgress], bool]
) -> None:
    """Ends the command with the exit code of what came out. Ctrl-C ends the following and nothing else."""
    follow = _json if session.json else _live if session.live else _plain
    last: list[ChangeProgress] = []

    def seen() -> Progress:
        for progress in session.service.many.follow(change, wanted):
            last[:] = [progress]
            yield progress

    try:
        follow(session, seen())
    except KeyboardInterrupt:
        _say_how_to_go_on(session, change)
        raise typer.Exit(INTERRUPTED) from None
    (end,) = last
    code = change_exit_code(end, asked)
    if session.json:
        session.line({"event": "end", **document(end), "exit_code": code})
    else:
        _say_end(session, end)
    raise typer.Exit(code)


def document(progress: ChangeProgress) -> dict[str, Any]:
    """A change and its units as data, without the plans."""
    change, back = progress.change, progress.back
    return {
        "change": change.id,
        "kind": change.kind,
        "state": change.state,
        "outcome": str(change.outcome),
        "back": {"change": back.id, "state": back.state, "outcome": str(back.outcome)} if back else None,
        "at": progress.observed_at,
        "units": [
            {**plain(one), "unit": str(one.unit), "outcome": str(one.outcome)} for one in progress.units
        ],
    }


def _json(session: Session, progress: Progress) -> None:
    before: object = None
    for seen in progress:
        now = [seen.change.state, seen.back and seen.back.state, seen.units]
        if now != before:
            before = now
            session.line({"event": "progress", **document(seen)})


def _plain(session: Session, progress: Progress) -> None:
    """A line for each unit when its state changes, with the time of the look."""
    t = session.t
    states: dict[str, str] = {}
    for seen in progress:
        stamp = time.strftime("%H:%M:%S")
        for one in seen.units:
            word = t.text(unit_word(seen, one)[0])
            if one.state is not None and states.get(str(one.unit)) != word:
                states[str(one.unit)] = word
                line = f"{stamp} {one.wave}  {one.unit}  {word}  {one.rollout}"
                print(line, flush=True)


def _live(session: Session, progress: Progress) -> None:
    from rich.live import Live

    from lastgood.cli.live import quiet_keys

    with quiet_keys(), Live(console=session.console, refresh_per_second=5, transient=True) as live:
        for seen in progress:
            live.update(change_view(session.t, seen))


def _say_end(session: Session, end: ChangeProgress) -> None:
    if session.live:
        session.show(change_view(session.t, end))
    else:
        word, _ = words.change_word(end.back or end.change)
        session.say(
            N_("{change}: {state}. {units}"),
            change=end.change.id, state=session.t.text(word), units=counted(session.t, end),
        )  # fmt: skip
        for outcome in (end.change.outcome, end.back and end.back.outcome):
            if outcome:
                print(session.t(outcome))
    if end.change.state is ChangeState.GUARDING:
        session.say(N_("All waves have passed; the guard windows are still open."))
        session.say(N_("  to take all of it back: lastgood rollback --change {change}"), change=end.change.id)
    elif not end.is_open:
        session.say(N_("what happened on each unit: lastgood show {rollout}"), rollout=end.change.id)


def _say_how_to_go_on(session: Session, change: str) -> None:
    session.say(N_("\nNot followed any more; {rollout} goes on."), rollout=change)
    session.say(N_("  to follow it: lastgood show {rollout} --follow"), rollout=change)
    session.say(N_('  to begin no further unit: lastgood stop {change} --reason "…"'), change=change)
    session.say(N_("  to take all of it back: lastgood rollback --change {change}"), change=change)
