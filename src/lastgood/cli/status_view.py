"""Units, drawn: a table for all, a page for one."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.restore_view import database_lines, failed_text
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift
from lastgood.domain.plan import Estimate, PlanKind
from lastgood.domain.restore_point import PointKind
from lastgood.domain.rollout import RolloutState
from lastgood.domain.status import UnitStatus, WayBack
from lastgood.translation import Translator

MARKS = {"green": "●", "cyan": "◐", "yellow": "◆", "red": "✗"}


def status_view(
    t: Translator,
    units: Sequence[UnitStatus],
    *,
    detailed: bool,
    seen: Text | None = None,
    held: Sequence[Text | Table] = (),
) -> Group:
    """What is recorded, what needs a person, and when it was looked at; ``seen``: a look at the targets,
    ``held``: at what servers keep.
    """
    parts: list[Text | Table] = [_page(t, units[0])] if detailed and units else [_table(t, units)]
    parts += [*_warnings(t, units), *held]
    if units:
        at = words.moment(max(u.observed_at for u in units))
        if seen is not None:
            parts.append(seen)
        template = N_("as recorded at {time}; what runs now is seen by lastgood drift UNIT")
        parts.append(Text(t.text(N_("looked at {time}") if seen else template, time=at), "dim"))
    return Group(*parts)


def seen_text(t: Translator, drift: Sequence[Drift]) -> Text:
    """What a look at the targets found."""
    if not drift:
        return Text("● " + t.text(N_("what runs is what was released")), "green")
    found = ", ".join(f"{d.subject} {d.kind.value}" for d in drift[:4])
    return Text("✗ " + t.text(N_("what runs differs: {found}. See lastgood drift UNIT"), found=found), "red")


def state_text(t: Translator, status: UnitStatus) -> Text:
    """The newest rollout's state, in words about the unit."""
    if status.rollout is None:
        return Text("○ " + t.text(N_("baseline")), "yellow")
    word, style = words.state_word(status.rollout)
    return Text(f"{MARKS[style]} {t.text(word)}", style)


def _table(t: Translator, units: Sequence[UnitStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(t.text(N_("unit")), overflow="fold")
    table.add_column(t.text(N_("state")), overflow="fold")
    table.add_column(t.text(N_("release")), overflow="fold")
    table.add_column(t.text(N_("since")), overflow="fold")
    table.add_column(t.text(N_("way back")), overflow="fold")
    for status in units:
        release = Text(short(status.release) or "-")
        if status.commit:
            release.append(f"\n{words.commit(status.commit)}", "dim")
        state = state_text(t, status)
        if status.change:
            part = N_("waits in {change}") if status.waiting else N_("part of {change}")
            state.append("\n" + t.text(part, change=status.change), "dim")
        if status.frozen:
            state.append("\n❄ " + t.text(N_("frozen")), "bright_blue")
        if status.incident:
            state.append("\n! " + t.text(N_("incident open")), "red")
        if status.aside:
            state.append("\n⊘ " + t.text(N_("set aside")), "magenta")
        since = Text(words.moment(status.since)) if status.since else Text("-")
        table.add_row(Text(str(status.unit)), state, release, since, way_back_text(t, status.way_back))
    return table


def way_back_text(t: Translator, back: WayBack | None) -> Text:
    """Where to, warm or cold, how long by measure, and whether it is whole."""
    if back is None:
        return Text("✗ " + t.text(N_("none")), "bold red")
    text = Text(short(back.release))
    text.append("\n")
    text.append(t.text(N_("warm")) if back.warm else t.text(N_("cold")), "green" if back.warm else "cyan")
    text.append(", " + _soon(t, back.estimate), "dim")
    if back.missing:
        text.append("\n✗ " + t.text(N_("{count} pieces are missing"), count=back.missing), "bold red")
    if back.lacking:
        text.append("\n✗ " + t.text(N_("no valid {names}"), names=", ".join(back.lacking)), "bold red")
    if back.unseen is not None:
        text.append("\n? " + t.text(N_("its image was not seen")), "yellow")
    if back.kind == PointKind.BASELINE.value:
        text.append("\n" + t.text(N_("baseline")), "yellow")
    return text


def _soon(t: Translator, known: Estimate) -> str:
    if known.seconds is None:
        return t.text(N_("never measured"))
    return f"≈ {words.seconds(known.seconds)}"


def _page(t: Translator, status: UnitStatus) -> Table:
    """One line per question."""
    page = Table.grid(padding=(0, 2))
    page.add_column(style="bold", no_wrap=True)
    page.add_column(overflow="fold")

    def row(title: str, text: Text | str) -> None:
        page.add_row(t.text(title), text if isinstance(text, Text) else Text(text))

    row(N_("unit"), str(status.unit))
    row(N_("state"), state_text(t, status))
    release = short(status.release) or "-"
    row(
        N_("release"),
        release
        + (t.text(N_(" (commit {commit})"), commit=words.commit(status.commit)) if status.commit else ""),
    )
    if status.since:
        row(N_("since"), words.moment(status.since))
    rollout = status.rollout
    if rollout is not None:
        row(N_("rollout"), Text.assemble(rollout.id, (f"  {t.text(words.KINDS[rollout.kind])}", "dim")))
        row(N_("why"), rollout.change.reason)
        row(N_("owner"), f"{rollout.change.owner} · {rollout.change.impact}")
        if rollout.outcome:
            row(N_("outcome"), t(rollout.outcome))
    row(N_("way back"), _way_back_page(t, status))
    if status.change:
        part = N_("{change}, its turn has not come") if status.waiting else N_("{change}, not over")
        row(N_("change"), t.text(part, change=status.change))
    if status.frozen:
        row(N_("frozen"), Text(t.retell(status.frozen), "bright_blue"))
    if status.incident:
        row(N_("incident"), Text(status.incident, "red"))
    if status.aside:
        row(N_("set aside"), Text(status.aside, "magenta"))
    if status.failed:
        row(N_("failed databases"), failed_text(t, status.failed))
    return page


def _way_back_page(t: Translator, status: UnitStatus) -> Text:
    back = status.way_back
    if back is None:
        return Text("✗ " + t.text(N_("none: there is no restore point")), "bold red")
    word, style = words.POINTS[PointKind(back.kind)]
    text = Text.assemble(short(back.release), "  ", (t.text(word), style), (f"  {back.point}", "dim"))
    warmth = (
        N_("warm: the old generation still runs")
        if back.warm
        else N_("cold: it is started again from what is kept here")
    )
    text.append("\n" + t.text(warmth), "green" if back.warm else "cyan")
    text.append("\n" + words.estimate(t, back.estimate))
    if back.missing:
        text.append(
            "\n✗ " + t.text(N_("{count} pieces are missing or damaged"), count=back.missing), "bold red"
        )
    elif back.unseen is not None:
        template = N_("not known whether its image is in the engine: {why}")
        text.append("\n? " + t.text(template, why=t(back.unseen)), "yellow")
    else:
        text.append("\n" + t.text(N_("whole: everything it needs is kept here")), "green")
    text.append_text(_secrets(t, back))
    seen = (
        N_("observed at {time}") if back.kind == PointKind.BASELINE.value else N_("last seen good at {time}")
    )
    text.append("\n" + t.text(seen, time=words.moment(back.proven_at)), "dim")
    if back.databases_proven_at is not None:
        age = words.seconds((status.observed_at - back.databases_proven_at).total_seconds())
        text.append("\n" + t.text(N_("database copy proven {age} ago"), age=age), "dim")
    elif back.databases_kept:
        template = N_("database copy not proven since it was taken: lastgood prove {unit}")
        text.append("\n" + t.text(template, unit=status.unit), "yellow")
    return text


def _secrets(t: Translator, back: WayBack) -> Text:
    """What of its secrets was revoked."""
    text = Text()
    if back.renewed:
        template = N_("with another version of {names}: its own was revoked")
        text.append("\n" + t.text(template, names=", ".join(back.renewed)), "yellow")
    for name in back.lacking:
        template = N_("no valid version of {name} is here: lastgood secrets renew {name}")
        text.append("\n✗ " + t.text(template, name=name), "bold red")
    return text


def _secret_warnings(t: Translator, status: UnitStatus) -> list[Text]:
    """What runs with a revoked secret, and what can't go back for want of a valid one."""
    runs = N_(
        "! {unit}: runs with a revoked {name}: deploy the new value, or: lastgood heal {unit} starts it with "
        "the newest valid one"
    )
    stuck = N_("! {unit}: can't go back: no valid {name} is here. lastgood secrets renew {name}")
    lacking = status.way_back.lacking if status.way_back is not None else ()
    return [
        *(Text(t.text(runs, unit=status.unit, name=name), "yellow") for name in status.revoked),
        *(Text(t.text(stuck, unit=status.unit, name=name), "bold red") for name in lacking),
    ]


def _ended_warnings(t: Translator, status: UnitStatus) -> list[Text]:
    """What the newest rollout left open; after a restore a rollback would move the program, not the data."""
    rollout = status.rollout
    if rollout is None:
        return []
    restored = rollout.kind is PlanKind.RESTORE
    if rollout.state is RolloutState.UNVERIFIED:
        unsure = N_(
            '! {unit}: not enough evidence. Good: lastgood accept {unit} --reason "…". '
            "Bad: lastgood rollback {unit}"
        )
        unsure_of_data = N_(
            '! {unit}: restored, not enough evidence. Good: lastgood accept {unit} --reason "…". Bad: look '
            "for another cause, lastgood show {rollout}; don't roll back"
        )
        template, style = unsure_of_data if restored else unsure, "yellow"
    elif rollout.state is RolloutState.INCOMPLETE:
        stopped = N_("! {unit}: the way back stopped. Mend the cause, then: lastgood rollback {unit}")
        restore_stopped = N_(
            "! {unit}: the restore stopped. See: lastgood show {rollout}. What it names decides what is "
            "next; don't roll back"
        )
        template, style = restore_stopped if restored else stopped, "bold red"
    else:
        return []
    return [Text(t.text(template, unit=status.unit, rollout=rollout.id), style)]


def _warnings(t: Translator, units: Sequence[UnitStatus]) -> list[Text | Table]:
    """What a person has to do, with the command for it."""
    lines: list[Text | Table] = []
    watched = {status.change: status.watched for status in units if status.change}
    for change, runs in watched.items():
        at_work = N_("{change} is at work: lastgood show {change}, lastgood rollback --change {change}")
        stopped = N_("! {change} stands still: no runner. Resume: lastgood run")
        text = t.text(at_work if runs else stopped, change=change)
        lines.append(Text(text, "cyan" if runs else "bold red"))
    for status in units:
        rollout = status.rollout
        if rollout is not None and rollout.state.is_open and not status.watched:
            since = words.moment(status.watched_until or rollout.created_at)
            guarding = N_("! {unit}: guard not watched since {since}: no runner. Resume: lastgood run")
            stopped = N_("! {unit}: {rollout} stands still since {since}: no runner. Resume: lastgood run")
            template = guarding if rollout.state is RolloutState.GUARDING else stopped
            lines.append(
                Text(t.text(template, unit=status.unit, rollout=rollout.id, since=since), "bold red")
            )
        elif rollout is not None and rollout.state is RolloutState.GUARDING:
            template = N_("{unit}: guarded; end it well: lastgood accept, go back: lastgood rollback")
            lines.append(Text(t.text(template, unit=status.unit), "cyan"))
        lines += _ended_warnings(t, status)
        if status.aside:
            template = N_("{unit}: something it runs was set aside ({aside}): see lastgood quarantine list")
            lines.append(Text(t.text(template, unit=status.unit, aside=status.aside), "magenta"))
        lines += _secret_warnings(t, status)
        if status.way_back is not None and status.way_back.missing:
            template = N_(
                "! {unit}: the way back is not whole. lastgood prove {unit} says what is missing and fetches "
                "images again"
            )
            lines.append(Text(t.text(template, unit=status.unit), "bold red"))
        if status.frozen:
            template = N_('{unit}: frozen: {reason}. Lift it: lastgood unfreeze {unit} --reason "…"')
            lines.append(
                Text(t.text(template, unit=status.unit, reason=t.retell(status.frozen)), "bright_blue")
            )
    return lines + database_lines(t, units)
