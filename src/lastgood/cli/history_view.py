"""History, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.wave_view import changes_view
from lastgood.domain.change import Change
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.restore_point import RestorePoint
from lastgood.domain.rollout import Rollout
from lastgood.translation import Translator


def history_view(
    t: Translator,
    rollouts: Sequence[Rollout],
    points: Sequence[RestorePoint],
    changes: Sequence[Change] = (),
) -> Group:
    parts: list[Table | Text] = []
    if changes:
        parts += [Text(t.text(N_("changes over many units")), "bold"), changes_view(t, changes)]
    if rollouts:
        parts.append(_rollouts(t, rollouts))
    if points:
        parts += [Text(t.text(N_("restore points")), "bold"), _points(t, points)]
    return Group(*parts)


def _rollouts(t: Translator, rollouts: Sequence[Rollout]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(t.text(N_("rollout")), no_wrap=True)
    table.add_column(t.text(N_("what")), overflow="fold")
    table.add_column(t.text(N_("state")), overflow="fold")
    table.add_column(t.text(N_("why, by whom")), overflow="fold")
    for rollout in rollouts:
        word, style = words.state_word(rollout)
        what = Text(f"{rollout.unit}\n{t.text(words.KINDS[rollout.kind])} → {short(rollout.target)}")
        when = Text(f"{rollout.id}\n")
        when.append(words.moment(rollout.created_at), "dim")
        if rollout.finished_at:
            took = (rollout.finished_at - rollout.created_at).total_seconds()
            when.append(t.text(N_(", took {time}"), time=words.seconds(took)), "dim")
        why = Text(rollout.change.reason)
        why.append(f"\n{rollout.change.requested_by}", "dim")
        table.add_row(when, what, Text(t.text(word), style), why)
    return table


def _points(t: Translator, points: Sequence[RestorePoint]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in (N_("point"), N_("release"), N_("kind"), N_("since")):
        table.add_column(t.text(title), overflow="fold")
    for point in points:
        word, style = words.POINTS[point.kind]
        since = words.moment(point.created_at)
        table.add_row(Text(point.id), Text(short(point.release)), Text(t.text(word), style), Text(since))
    return table
