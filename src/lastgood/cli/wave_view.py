"""Changes over many units, drawn: waves before they run, and each unit while they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.plan_view import plan_view
from lastgood.domain.change import Change, ChangePlan
from lastgood.domain.digest import short
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Difference, Plan, PlanKind
from lastgood.domain.rollout import RolloutState, way_back_id
from lastgood.domain.status import ChangeProgress, UnitProgress
from lastgood.domain.unit import named
from lastgood.domain.wave import Wait
from lastgood.translation import Translator

TO_LOOK_AT = (RolloutState.FAILED, RolloutState.UNVERIFIED, RolloutState.INCOMPLETE)
WAY_BACK = "Way back: {release}"
"""A note that every plan has; the table says it for each unit."""


def waves_view(t: Translator, plan: ChangePlan, plans: Sequence[Plan], *, details: bool = False) -> Group:
    """What a change would do: a line for each unit, what must be known, how it goes from wave to wave."""
    parts: list[Text | Table | Group] = [_head(t, plan), _planned(t, plan, plans)]
    parts += [Text(line) for line in _pace(t, plan)]
    if plan.left:
        parts.append(Text(t.text(N_("nothing to do on: {units}"), units=named(plan.left)), "dim"))
    parts += [Text("! " + note, "yellow") for note in _notes(t, plans)]
    if not plan.automatic:
        text = N_("A broken gate waits for a person here; nothing goes back by itself.")
        parts.append(Text("! " + t.text(text), "yellow"))
    for one in plans if details else ():
        parts += [Text(""), plan_view(t, one)]
    return Group(*parts)


def back_waves_view(t: Translator, plan: ChangePlan) -> Group:
    """What would be taken back, in its order."""
    table = _table(t, N_("unit"), N_("from"), N_("to"))
    for number, wave in enumerate(plan.waves, 1):
        for member in wave:
            table.add_row(str(number), str(member.unit), short(member.base), short(member.target))
    parts: list[Text | Table] = [table]
    if plan.left:
        parts.append(Text(t.text(N_("stay as they are: {units}"), units=named(plan.left)), "yellow"))
    return Group(*parts)


def change_view(t: Translator, progress: ChangeProgress) -> Group:
    """A change as it is: each unit with its own outcome, never one colour for all."""
    change = progress.change
    request = change.request
    about = t.text(
        N_("{reason} · owner {owner} · touches {impact} · asked by {by}"),
        reason=request.reason, owner=request.owner, impact=request.impact, by=request.requested_by,
    )  # fmt: skip
    when = words.moment(change.created_at)
    if change.finished_at:
        when += f" – {words.moment(change.finished_at)}"
    word, style = words.change_word(change)
    parts: list[Text | Table] = [
        Text.assemble(_title(t, change.plan), "  ", (t.text(word), f"bold {style}")),
        Text(f"{change.id}  {when}", "dim"),
        Text(about),
    ]
    if change.undoes:
        parts.append(Text("↩ " + t.text(N_("takes back {rollout}"), rollout=change.undoes), "yellow"))
    parts += [_units(t, progress), Text(counted(t, progress)), *_to_look_at(t, progress)]
    if change.outcome:
        parts.append(Text(t(change.outcome), style))
    if progress.back is not None:
        back_word, back_style = words.change_word(progress.back)
        back = t.text(N_("taken back by {rollout}"), rollout=progress.back.id)
        parts.append(Text.assemble(("↩ ", "yellow"), back, "  ", (t.text(back_word), back_style)))
        if progress.back.outcome:
            parts.append(Text(f"  {t(progress.back.outcome)}", back_style))
    return Group(*parts)


def changes_view(t: Translator, changes: Sequence[Change]) -> Table:
    """Changes, newest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in (N_("change"), N_("units"), N_("state"), N_("why, by whom")):
        table.add_column(t.text(title), overflow="fold")
    for change in changes:
        word, style = words.change_word(change)
        units = named([m.unit for m in change.plan.members()], 2)
        why = Text(change.request.reason)
        why.append(f"\n{change.request.requested_by}", "dim")
        when = Text(f"{change.id}\n")
        when.append(words.moment(change.created_at), "dim")
        state = Text(t.text(word), style)
        table.add_row(when, Text(units), state, why)
    return table


def counted(t: Translator, progress: ChangeProgress) -> str:
    """How many units are in which state."""
    counts = Counter(unit_word(progress, one)[0] for one in progress.units)
    return " · ".join(f"{count} {t.text(word)}" for word, count in counts.most_common())


def unit_word(progress: ChangeProgress, one: UnitProgress) -> tuple[str, str]:
    """Template and colour of what has become of a unit."""
    if one.state is None:
        return (N_("waiting"), "dim") if progress.change.state.is_open else (N_("not begun"), "dim")
    known = words.BACK_STATES if one.kind is PlanKind.ROLLBACK else words.STATES
    return known[one.state]


def _head(t: Translator, plan: ChangePlan) -> Text:
    text = _title(t, plan)
    text.append("\n" + t.text(N_("plan {digest}"), digest=short(plan.digest)), "dim")
    return text


def _title(t: Translator, plan: ChangePlan) -> Text:
    count, waves = sum(1 for _ in plan.members()), len(plan.waves)
    title = t.text(N_("{count} units in {waves} waves"), count=count, waves=waves)
    text = Text.assemble((f"{t.text(words.KINDS[plan.kind])} {plan.environment}: {title}", "bold"))
    if plan.commit:
        text.append(t.text(N_(" (commit {commit})"), commit=words.commit(plan.commit)), "dim")
    return text


def _table(t: Translator, *titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(t.text(N_("wave")), justify="right")
    for title in titles:
        table.add_column(t.text(title), overflow="fold")
    return table


def _planned(t: Translator, plan: ChangePlan, plans: Sequence[Plan]) -> Table:
    table = _table(t, N_("unit"), N_("way back → new"), N_("what changes"), N_("after"))
    by_unit = {one.unit: one for one in plans}
    for number, wave in enumerate(plan.waves, 1):
        for member in wave:
            way = f"{short(member.base)} → {short(member.target)}"
            what = ", ".join(_changes(t, by_unit[member.unit].difference))
            table.add_row(str(number), str(member.unit), way, what, named(member.after, 2))
    return table


def _changes(t: Translator, difference: Difference) -> Iterator[str]:
    if difference.files:
        yield t.text(N_("files: {count}"), count=len(difference.files))
    if difference.artifact:
        yield t.text(N_("artifact"))
    if difference.secrets:
        yield t.text(N_("secrets"))
    for migration in difference.migrations:
        yield t.text(N_("migrates {migration}"), migration=migration)
    if difference.settings:
        yield t.text(N_("settings"))


def _pace(t: Translator, plan: ChangePlan) -> Iterator[str]:
    yield t.text(N_("At most {count} units are at work at once."), count=plan.concurrency)
    if len(plan.waves) > 1:
        watch = N_("A wave begins when all units of the one before have passed their watch.")
        guard = N_("A wave begins when the guard windows of all units before have ended well.")
        yield t.text(watch if plan.wait is Wait.WATCH else guard)
    if plan.pause:
        yield t.text(N_("Between two waves: {time}."), time=words.seconds(plan.pause))


def _notes(t: Translator, plans: Sequence[Plan]) -> Iterator[str]:
    """What the reader must see, once for all units that have it."""
    first: dict[str, tuple[Message, int]] = {}
    for plan in plans:
        for note in plan.notes:
            known, count = first.get(note.template, (note, 0))
            first[note.template] = (known, count + 1)
    for note, count in first.values():
        if note.template == WAY_BACK:
            continue
        more = t.text(N_(" (and so on {count} more units; see --details)"), count=count - 1)
        yield t(note) + (more if count > 1 else "")


def _units(t: Translator, progress: ChangeProgress) -> Table:
    table = _table(t, N_("unit"), N_("state"), N_("since"), N_("outcome"))
    for one in progress.units:
        word, style = unit_word(progress, one)
        since = words.moment(one.since) if one.since else "-"
        table.add_row(
            str(one.wave), Text(str(one.unit)), Text(t.text(word), style), Text(since), _outcome(t, one)
        )
    return table


def _outcome(t: Translator, one: UnitProgress) -> Text:
    """What is not said by the state already."""
    if one.stays:
        return Text(t.text(N_("stays: {why}"), why=t.retell(one.stays)), "yellow")
    plain = one.state is RolloutState.VERIFIED and not one.error
    return Text("" if plain else t(one.outcome))


def _to_look_at(t: Translator, progress: ChangeProgress) -> Iterator[Text]:
    """The units that need a look, with the command for it."""
    for one in progress.units:
        if one.rollout and (one.error not in ("", "Interrupted") or one.state in TO_LOOK_AT):
            # A rollout tells of its own way back, too.
            told = one.rollout.removesuffix(way_back_id(""))
            yield Text(t.text(N_("{unit}: lastgood show {rollout}"), unit=one.unit, rollout=told), "dim")
