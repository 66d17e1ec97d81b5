"""Events of a rollout as lines: the same for a terminal, a pipe and a log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.text import Text

from lastgood.cli import words
from lastgood.cli.criteria import Criteria, criterion_line, measured
from lastgood.cli.trace import WATCHES, Event, News, StepTrace, Story, Trace
from lastgood.domain.criterion import Verdict
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import RolloutState
from lastgood.translation import Translator

TITLE = 50
"""Columns of a step's title before its seconds."""


class Lines:
    """Says events; knows the story so far, for what spans two rollouts."""

    def __init__(self, t: Translator, story: Story, criteria: Criteria) -> None:
        self.t, self.story, self.criteria = t, story, criteria

    def of(self, event: Event, *, starts: bool) -> list[Text]:
        """The lines of an event; ``starts``: the beginning of a step is told too."""
        step = event.step
        if event.what is News.BEGUN:
            return [self._begun(event.trace)]
        if event.what is News.STEP_STARTED and step is not None:
            return [Text(f"  ▸ {self.t(step.step.title)}", "dim")] if starts else []
        if event.what is News.STEP_DONE and step is not None:
            return self._done(event.trace, step)
        if event.what is News.STEP_FAILED and step is not None:
            return self._failed(event.trace, step)
        if event.what is News.GUARDING and step is not None:
            return self.guarding(event.trace, step)
        return self._over(event.trace) if event.what is News.OVER else []

    def _begun(self, trace: Trace) -> Text:
        rollout = trace.rollout
        kind = self.t.text(words.KINDS[rollout.kind])
        if trace.is_back:
            text = Text("↩ ", "bold yellow")
            text.append(
                self.t.text(
                    N_("{unit} goes back to {release}"), unit=rollout.unit, release=short(rollout.target)
                )
            )
        else:
            text = Text("▶ ", "bold cyan")
            text.append(f"{kind} {rollout.unit} → {short(rollout.target)}")
            if rollout.plan.commit:
                text.append(
                    self.t.text(N_(" (commit {commit})"), commit=words.commit(rollout.plan.commit)), "dim"
                )
        text.append(f"  {rollout.id}", "dim")
        return text

    def _done(self, trace: Trace, step: StepTrace) -> list[Text]:
        text = Text.assemble(("  ✓ ", "green"), self.t(step.step.title))
        _pad(text, step.seconds())
        lines = [text]
        if step.step.kind in WATCHES:
            lines += self._verdict(trace, step)
        elif trace.is_back and step.step.kind is StepKind.SHIFT_TRAFFIC and step.ended:
            after = (step.ended - self.story.broke_at()).total_seconds()
            lines.append(
                Text(
                    "    " + self.t.text(N_("traffic back after {time}"), time=words.seconds(after)),
                    "bold green",
                )
            )
        return [*lines, *self._results(step)]

    def _results(self, step: StepTrace) -> list[Text]:
        """What a step left behind, in a line where there is something to know."""
        kind, data = step.step.kind, step.data
        if kind is StepKind.COLLECT_EVIDENCE and data.get("directory"):
            return [Text(f"    {data['directory']}", "dim")]
        if kind is StepKind.KEEP_RESTORE_POINT and data.get("point"):
            return [Text(f"    {data['point']}", "dim")]
        if kind is StepKind.DRAIN_TRAFFIC and data.get("ended"):
            ended = self.t.text(N_("{count} open requests and sessions were ended"), count=data["ended"])
            return [Text(f"    {ended}", "yellow")]
        if kind in (StepKind.CARRY_OVER, StepKind.SWAP_DATABASE):
            return self._salvaged(data)
        if kind is StepKind.REVERT_SCHEMA:
            return self._undone(data)
        if kind is StepKind.END_CAPTURE and data.get("why"):
            return [Text(f"    {self.t.retell(data['why'])}", "yellow")]
        if kind is StepKind.PRUNE:
            gone = (*data.get("pruned", ()), *data.get("discarded", ()))
            left = [f"    {point}: {self.t.retell(why)}" for point, why in data.get("left", {}).items()]
            return [Text(line, "dim") for line in (*(f"    {p}" for p in gone), *left)]
        return []

    def _salvaged(self, data: Mapping[str, Any]) -> list[Text]:
        """Rows by table; of the swap also how long nobody could write, and where the failed database is."""
        t, lines = self.t, []
        if carried := data.get("carried"):
            rows = ", ".join(f"{table} {count}" for table, count in carried.items())
            lines.append(Text("    " + t.text(N_("carried over: {rows}"), rows=rows)))
        if conflicts := data.get("conflicts"):
            rows = ", ".join(f"{table} {count}" for table, count in conflicts.items())
            template = N_("in conflict, listed in lastgood.conflicts (MariaDB: lastgood_conflicts): {rows}")
            lines.append(Text("    " + t.text(template, rows=rows), "yellow"))
        if "failed" in data:
            closed = N_("closed for {fence}, {swap} of that the swap; the failed database is {failed}")
            fence, swap = words.seconds(data["fence_seconds"]), words.seconds(data["swap_seconds"])
            lines.append(Text("    " + t.text(closed, fence=fence, swap=swap, failed=data["failed"]), "dim"))
        return lines

    def _undone(self, data: Mapping[str, Any]) -> list[Text]:
        """Rows that are as before the migration, and those that somebody changed since."""
        lines = []
        for name, template, style in (
            ("undone", N_("rows put back: {rows}"), "dim"),
            ("undo_conflicts", N_("changed since, listed in lastgood.undo_conflicts: {rows}"), "yellow"),
        ):
            if found := data.get(name):
                rows = ", ".join(f"{table} {count}" for table, count in found.items())
                lines.append(Text("    " + self.t.text(template, rows=rows), style))
        return lines

    def _verdict(self, trace: Trace, step: StepTrace) -> list[Text]:
        lines = []
        verdict = step.data.get("verdict")
        if verdict:
            word, style = words.VERDICTS[Verdict(verdict)]
            lines.append(Text("    " + self.t.text(word), style))
        if step.data.get("accepted"):
            lines = [Text("    " + self.t.text(N_("ended by a person")), "green")]
        return [*lines, *self._measured(trace, step)]

    def _measured(self, trace: Trace, step: StepTrace) -> list[Text]:
        lines = []
        for name, samples in trace.of_watch(step).items():
            seen = measured(name, samples, self.criteria.get(name))
            lines.append(Text("    ").append_text(criterion_line(self.t, seen, samples)))
        return lines

    def _failed(self, trace: Trace, step: StepTrace) -> list[Text]:
        asked = bool(step.data.get("interrupted_by"))
        mark, style = ("■", "yellow") if asked else ("✗", "bold red")
        text = Text.assemble((f"  {mark} ", style), self.t(step.step.title))
        _pad(text, step.seconds())
        seen = self._measured(trace, step) if step.step.kind in WATCHES else []
        lines = [text, *seen, Text("    " + self.t(step.failure), style)]
        if step.mend and step.data.get("error") != "GateFailed":
            lines.append(Text("    → " + self.t(step.mend)))
        return lines

    def guarding(self, trace: Trace, guard: StepTrace) -> list[Text]:
        """The gate of the watch is passed; what goes on, and how to go back."""
        if guard.started is None:
            return []
        until = words.moment((guard.since or guard.started) + timedelta(seconds=guard.planned))
        unit = trace.rollout.unit
        return [
            Text("  ✓ " + self.t.text(N_("the gate is passed; guarded until {until}"), until=until), "green"),
            Text(
                "    "
                + self.t.text(
                    N_("The old generation stays warm. To go back: lastgood rollback {unit}"), unit=unit
                )
            ),
        ]

    def _over(self, trace: Trace) -> list[Text]:
        rollout = trace.rollout
        word, style = words.state_word(rollout)
        if rollout.state is RolloutState.RETURNED:
            return []
        took = (rollout.finished_at - rollout.created_at).total_seconds() if rollout.finished_at else 0.0
        mark = {"green": "✓", "yellow": "!", "red": "✗"}.get(style, "·")
        text = Text.assemble((f"{mark} {self.t.text(word)}", f"bold {style}"))
        text.append(self.t.text(N_(", after {time}"), time=words.seconds(took)))
        lines = [text]
        if rollout.outcome and (rollout.outcome.params or rollout.state is not RolloutState.VERIFIED):
            lines.append(Text(f"  {self.t(rollout.outcome)}"))
        if rollout.incident:
            line = self.t.text(
                N_("what happened: lastgood show {rollout}"), rollout=rollout.undoes or rollout.id
            )
            lines.append(Text(f"  {line}"))
        return lines


def _pad(text: Text, seconds: float | None) -> None:
    if seconds is not None:
        text.append(" " * max(2, TITLE - text.cell_len))
        text.append(words.seconds(seconds), "dim")
