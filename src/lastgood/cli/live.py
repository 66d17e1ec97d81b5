"""The live display: what is over is printed for good, what goes on is drawn anew below it."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.criteria import criteria_of, criterion_line, measured
from lastgood.cli.lines import Lines
from lastgood.cli.session import Session
from lastgood.cli.trace import WATCHES, StepState, StepTrace, Story, Trace
from lastgood.domain.message import N_
from lastgood.domain.rollout import RolloutState
from lastgood.domain.status import Progress
from lastgood.translation import Translator

SHOWN_NEXT = 6
"""How many of the coming steps are listed."""


class Display:
    """Renders the running step, its criteria, and what comes next; asked for anew at each refresh."""

    def __init__(self, t: Translator, story: Story) -> None:
        self.t, self.story = t, story
        self.lines = Lines(t, story, {})
        self._spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> Group:
        if not self.story.traces or not self.story.last.rollout.state.is_open:
            return Group()
        trace = self.story.last
        running = trace.running_step
        parts: list[Table | Text] = []
        if trace.rollout.state is RolloutState.ACCEPTED:
            parts.append(self._spinning(Text(self.t.text(N_("the runner takes it up")), "dim")))
        elif running is not None:
            parts.append(self._running(running))
            if running.step.kind in WATCHES:
                parts += self._criteria(trace, running)
        parts += self._next(trace)
        return Group(*parts)

    def _running(self, step: StepTrace) -> Table:
        now = datetime.now(UTC)
        title = Text(self.t(step.step.title), "bold")
        title.append("  " + words.seconds(step.seconds(now) or 0.0), "dim")
        if step.step.kind in WATCHES and step.started is not None:
            end = (step.since or step.started) + timedelta(seconds=step.planned)
            left = max(0.0, (end - now).total_seconds())
            title.append(self.t.text(N_(", {time} left"), time=words.seconds(left)), "dim")
        return self._spinning(title)

    def _spinning(self, title: Text) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_row(" ", self._spinner, title)
        return line

    def _criteria(self, trace: Trace, step: StepTrace) -> list[Table | Text]:
        found: list[Table | Text] = []
        for name, samples in trace.of_watch(step).items():
            seen = measured(name, samples, self.lines.criteria.get(name))
            found.append(Text("    ").append_text(criterion_line(self.t, seen, samples)))
        return found

    def _next(self, trace: Trace) -> list[Table | Text]:
        waiting = [s for s in trace.steps.values() if s.state is StepState.WAITING]
        lines: list[Table | Text] = [Text(f"  ○ {self.t(s.step.title)}", "dim") for s in waiting[:SHOWN_NEXT]]
        if len(waiting) > SHOWN_NEXT:
            more = self.t.text(N_("… and {count} more"), count=len(waiting) - SHOWN_NEXT)
            lines.append(Text(f"    {more}", "dim"))
        return lines


@contextmanager
def quiet_keys() -> Iterator[None]:
    """What is typed meanwhile is not echoed: it would break the picture. Ctrl-C still works."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def draw(session: Session, story: Story, progress: Iterator[Progress]) -> None:
    """Draw until the progress ends."""
    display = Display(session.t, story)
    known = False
    live = Live(display, console=session.console, refresh_per_second=10, transient=True)
    with quiet_keys(), live:
        for seen in progress:
            events = story.update(seen)
            if not known:
                known = True
                display.lines.criteria = criteria_of(session.service, seen.rollout)
            for event in events:
                for line in display.lines.of(event, starts=False):
                    live.console.print(line)
