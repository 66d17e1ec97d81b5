"""restore: a database back to a snapshot, with what was written since."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, Detach, Reason, Unit, Yes, commands, paragraphs
from lastgood.cli.session import Session
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.restore_plan import RestorePlan
from lastgood.domain.unit import UnitId

app = commands()


@app.command(
    cls=Command,
    help=paragraphs(
        N_(
            "For data that a change spoiled and no script takes back. First it says table by table what was "
            "written, changed and deleted since the cut, and what becomes of it; then it asks."
        ),
        N_(
            "The copy is made and brought up to date beside the live database; closed it is for the tail and "
            "the swap alone. The failed database stays on the server under another name."
        ),
        N_("With --yes it refuses to lose anything, or what it can't count, unless --accept-loss is said."),
        N_(
            "Exit codes: 0 back and verified, 5 back but still bad, 6 back but unverified, 7 refused, 8 a "
            "step failed and nothing was restored, 10 stopped half way."
        ),
    ),
    epilog="lastgood restore storefront@prod/us\n"
    'lastgood restore storefront@prod/us --forget --reason "the data is right"',
)
def restore(
    ctx: typer.Context,
    unit: Unit,
    database: Annotated[
        str, typer.Option(metavar="NAME", help=N_("Which of its databases; needed where there are several."))
    ] = "",
    snapshot: Annotated[str, typer.Option(metavar="ID", help=N_("Exactly this snapshot, or nothing."))] = "",
    reason: Reason = "",
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help=N_("Go on although rows stay in the failed database only, or writes can't be counted."),
        ),
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help=N_("Restore nothing: let the server stop keeping writes, with a reason.")
        ),
    ] = False,
    yes: Yes = False,
    detach: Detach = False,
) -> None:
    """Show what it costs, ask, go back, follow to the end."""
    from lastgood.cli.follow import follow, until_closed
    from lastgood.cli.session import unit as parse
    from lastgood.domain.plan import PlanKind

    session = Session(ctx)
    known = parse(unit)
    if forget:
        _forget(session, known, database, reason)
        return
    planned = _shown(session, known, database, snapshot, yes=yes)
    if not yes:
        _ask(session, planned)
    rollout = session.service.databases.restore(
        known, database=planned.capture.resource, snapshot=planned.snapshot.id, reason=reason,
        accept_loss=accept_loss or (not yes and planned.costs),
    )  # fmt: skip
    if detach:
        session.document({"rollout": rollout.id, "unit": unit})
        session.say(
            N_("{rollout} is at work. Follow it: lastgood show {rollout} --follow"), rollout=rollout.id
        )
        return
    if session.json:
        session.line({"event": "accepted", "rollout": rollout.id, "unit": unit})
    follow(session, rollout.id, PlanKind.RESTORE, until_closed)


def _shown(session: Session, unit: UnitId, database: str, snapshot: str, *, yes: bool) -> RestorePlan:
    """What it would do and cost. Raises InvalidInput where nobody can be asked."""
    if not (yes or session.asks):
        raise InvalidInput(
            N_("nobody can be asked here: this is not a terminal"),
            todo=N_("Look at it (lastgood plan {unit} --restore), then add --yes."),
            unit=str(unit),
        )
    planned = session.service.databases.plan_restore(unit, database=database, snapshot=snapshot)
    if not session.json:
        from lastgood.cli.restore_view import restore_view

        session.show(restore_view(session.t, planned))
    return planned


def _ask(session: Session, planned: RestorePlan) -> None:
    from lastgood.cli.change import ask

    lost = sum(table.rows for table in planned.writes.lost)
    if not planned.writes.complete:
        ask(session, N_("It is not known what would be lost. Go back all the same?"))
    elif lost:
        ask(
            session, session.t.text(N_("{count} rows stay in the failed database only. Go back?"), count=lost)
        )
    elif planned.neighbours.left:
        ask(session, N_("What is marked red stays with the failed database. Go back?"))
    else:
        ask(session, N_("Go back?"))


def _forget(session: Session, unit: UnitId, database: str, reason: str) -> None:
    ended = session.service.databases.forget(unit, database=database, reason=reason)
    session.document(ended)
    session.say(
        N_("What is written to {resource} is kept no more; its snapshot {snapshot} stays."),
        resource=ended.resource,
        snapshot=ended.snapshot,
    )
