"""What takes long is told while it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lastgood.cli.session import Session
from lastgood.domain.message import Message


@contextmanager
def telling(session: Session) -> Iterator[Callable[[Message], None]]:
    """What begins is told: on a terminal as one line with a spinner, else a line each."""
    if not session.live:
        yield lambda step: session.say(step.template, **step.params)
        return
    from rich.text import Text

    with session.console.status("") as status:
        yield lambda step: status.update(Text(session.t(step)))
