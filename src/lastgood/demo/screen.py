"""Shows the story while it happens: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lastgood.demo.acts import US, label
from lastgood.demo.ledger import failed
from lastgood.demo.shoppers import Seen
from lastgood.demo.tail import Tail
from lastgood.domain.message import N_, Message
from lastgood.domain.rollout import Mark, Rollout
from lastgood.domain.status import Progress
from lastgood.domain.unit import UnitId
from lastgood.translation import Translator, translator

BARS = "▁▂▃▄▅▆▇█"
SECONDS_SHOWN = 40
STEPS_SHOWN = 9


@dataclass
class _Act:
    title: Message
    began: float
    ended: float | None = None


@dataclass
class _Row:
    title: Message
    began: float
    ended: float | None = None
    failed: bool = False


@dataclass
class _Track:
    """One unit's present rollout."""

    rollout: Rollout
    rows: dict[str, _Row] = field(default_factory=dict)
    bad: Message | None = None


class LiveScreen:
    """An Observer for a terminal of 80 columns or more; use it as a context manager."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._t: Translator = translator()
        self._acts: list[_Act] = []
        self._tracks: dict[UnitId, _Track] = {}
        self._outcome: Message | None = None
        self._tail = Tail(directory / "customers.jsonl")
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._began = time.time()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=6, transient=False)

    def __enter__(self) -> LiveScreen:
        self._live.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        with self._lock:
            if self._acts:
                self._acts[-1].ended = time.time()
        self._live.__exit__(None, None, None)

    def act(self, title: Message) -> None:
        with self._lock:
            now = time.time()
            if self._acts:
                self._acts[-1].ended = now
            self._acts.append(_Act(title, now))
            self._tracks.clear()
            self._outcome = None

    def outcome(self, words: Message) -> None:
        with self._lock:
            self._outcome = words

    def progress(self, unit: UnitId, progress: Progress) -> None:
        with self._lock:
            track = self._tracks.get(unit)
            if track is None or track.rollout.id != progress.rollout.id:
                before = track
                track = self._tracks[unit] = _Track(progress.rollout)
                if before is not None and progress.rollout.undoes == before.rollout.id:
                    # The way back goes on below what failed.
                    track.rows, track.bad = before.rows, before.bad
            track.rollout = progress.rollout
            titles = {s.id: s.title for s in progress.rollout.plan.steps}
            for entry in progress.entries:
                if entry.mark is Mark.INTENT:
                    track.rows[entry.step] = _Row(titles[entry.step], entry.at.timestamp())
                elif entry.mark in (Mark.DONE, Mark.FAILED) and entry.step in track.rows:
                    row = track.rows[entry.step]
                    row.ended, row.failed = entry.at.timestamp(), entry.mark is Mark.FAILED
                    if row.failed:
                        track.bad = Message(entry.data["what"]["template"], entry.data["what"]["params"])

    def _draw(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [self._draw_acts()]
            several = len(self._tracks) > 1
            for unit, track in sorted(self._tracks.items()):
                parts += ["", self._draw_track(unit, track, STEPS_SHOWN // 3 if several else 2 * STEPS_SHOWN)]
            if self._outcome is not None:
                parts += ["", Text(self._t(self._outcome), "bold")]
            parts += ["", self._draw_rate()]
            return Group(*parts)

    def _draw_acts(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(ratio=1)
        table.add_column(justify="right")
        for act in self._acts:
            mark: RenderableType = Text("✓", "green") if act.ended else Spinner("dots", style="cyan")
            took = (act.ended or time.time()) - act.began
            table.add_row(mark, Text(self._t(act.title), "dim" if act.ended else "bold"), f"{took:.1f} s")
        return table

    def _draw_track(self, unit: UnitId, track: _Track, most: int) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=2)
        table.add_column(width=1)
        table.add_column(ratio=1)
        table.add_column(justify="right")
        state = Text(f"{unit}  ", "bold cyan")
        for row in list(track.rows.values())[-most:]:
            took = (row.ended or time.time()) - row.began
            mark: RenderableType = Spinner("dots", style="cyan")
            if row.ended:
                mark = Text("✗", "bold red") if row.failed else Text("✓", "green")
            table.add_row("", mark, Text(self._t(row.title), "red" if row.failed else ""), f"{took:.2f} s")
        parts: list[RenderableType] = [state]
        if track.bad is not None:
            parts.append(Text("  " + self._t(track.bad), "bold red"))
        if not track.rollout.state.is_open and track.rollout.outcome:
            state.append(self._t(track.rollout.outcome), "green" if track.bad is None else "yellow")
        return Group(*parts, table)

    def _draw_rate(self) -> RenderableType:
        """Success of checkouts on prod/us, a bar a second; red below the limit."""
        self._seen += [s for s in self._tail.read() if s.site == label(US) and s.kind == "checkout"]
        now = time.time()
        line = Text(f"{self._t.text(N_('Orders that succeed'))}, {label(US)}  ", "bold")
        shown = [s for s in self._seen if s.at > now - SECONDS_SHOWN - 1]
        last = None
        for second in range(SECONDS_SHOWN, 0, -1):
            inside = [not failed(s) for s in shown if second - 1 <= now - s.at < second]
            if not inside:
                line.append(" ")
                continue
            last = sum(inside) / len(inside)
            bar = BARS[min(7, int(last * 8))]
            line.append(bar, "green" if last >= 0.97 else "bold red")
        line.append(f"  {last:.0%}" if last is not None else "")
        return line


class PlainScreen:
    """An Observer that prints a line per event; for logs and pipes."""

    def __init__(self) -> None:
        self._t = translator()
        self._began = time.time()
        self._lock = threading.Lock()

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *problem: object) -> None:
        return None

    def act(self, title: Message) -> None:
        self._say(f"== {self._t(title)}")

    def progress(self, unit: UnitId, progress: Progress) -> None:
        titles = {s.id: s.title for s in progress.rollout.plan.steps}
        for entry in progress.entries:
            if entry.mark is Mark.DONE:
                self._say(f"{unit}  ✓ {self._t(titles[entry.step])}")
            elif entry.mark is Mark.FAILED:
                what = Message(entry.data["what"]["template"], entry.data["what"]["params"])
                self._say(f"{unit}  ✗ {self._t(titles[entry.step])}: {self._t(what)}")
        if not progress.rollout.state.is_open and progress.rollout.outcome:
            self._say(f"{unit}  → {self._t(progress.rollout.outcome)}")

    def outcome(self, words: Message) -> None:
        self._say(f"→ {self._t(words)}")

    def _say(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(f"{time.time() - self._began:6.1f} s  {text}\n")
            sys.stdout.flush()


class NoScreen(PlainScreen):
    """An Observer that says nothing; for --json."""

    def _say(self, text: str) -> None:
        return None
