"""Follow a rollout as far as the command wants: live on a terminal, elsewhere by lines, or as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import typer

from lastgood.cli.outcome import exit_code
from lastgood.cli.session import Session
from lastgood.cli.trace import Story
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.status import Progress

INTERRUPTED = 130


def until_verdict(rollout: Rollout) -> bool:
    """The gate of the watch is passed; the guard window has begun."""
    return rollout.kind is PlanKind.DEPLOY and rollout.state is RolloutState.GUARDING


def until_closed(rollout: Rollout) -> bool:
    return False


def follow(session: Session, rollout: str, asked: PlanKind, wanted: Callable[[Rollout], bool]) -> None:
    """Ends the command with the exit code of what came out. Ctrl-C ends the following and nothing else."""
    story = Story()
    draw = _json if session.json else _drawn
    try:
        draw(session, story, session.service.follow(rollout, wanted))
    except KeyboardInterrupt:
        _say_how_to_go_on(session, rollout, story)
        raise typer.Exit(INTERRUPTED) from None
    code = exit_code(story, asked)
    if session.json:
        session.line({"event": "end", "rollout": story.last.rollout, "exit_code": code})
    raise typer.Exit(code)


def _drawn(session: Session, story: Story, progress: Iterator[Progress]) -> None:
    if session.live:
        from lastgood.cli.live import draw

        draw(session, story, progress)
    else:
        _plain(session, story, progress)


def _plain(session: Session, story: Story, progress: Iterator[Progress]) -> None:
    """A line per event, with the time at which it happened."""
    from lastgood.cli.criteria import criteria_of
    from lastgood.cli.lines import Lines

    lines: Lines | None = None
    for seen in progress:
        if lines is None:
            lines = Lines(session.t, story, criteria_of(session.service, seen.rollout))
        for event in story.update(seen):
            stamp = event.at.astimezone().strftime("%H:%M:%S")
            for line in lines.of(event, starts=True):
                print(f"{stamp} {line.plain}".rstrip(), flush=True)


def _json(session: Session, story: Story, progress: Iterator[Progress]) -> None:
    state = None
    for seen in progress:
        story.update(seen)
        if seen.entries or seen.samples or seen.rollout.state is not state:
            state = seen.rollout.state
            session.line(_news(seen))


def _news(seen: Progress) -> dict[str, Any]:
    return {
        "event": "progress",
        "at": datetime.now().astimezone(),
        "rollout": seen.rollout.id,
        "kind": seen.rollout.kind,
        "state": seen.rollout.state,
        "entries": seen.entries,
        "samples": seen.samples,
    }


def _say_how_to_go_on(session: Session, rollout: str, story: Story) -> None:
    current = story.last.rollout if story.traces else None
    ident = current.id if current else rollout
    session.say(N_("\nNot followed any more; {rollout} goes on."), rollout=ident)
    session.say(N_("  to follow it: lastgood show {rollout} --follow"), rollout=ident)
    if current is not None and current.kind is PlanKind.DEPLOY:
        session.say(N_("  to take it back: lastgood rollback {unit}"), unit=current.unit)
