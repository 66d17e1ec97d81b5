"""expire: old copies of customers' data go, once a person has seen which."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from lastgood.cli.arguments import Command, Reason, Unit, Yes, commands, paragraphs
from lastgood.cli.session import Session
from lastgood.domain.expiry import Aside, AsideKind, DatabaseExpiry
from lastgood.domain.message import N_
from lastgood.translation import Translator

app = commands()

KINDS = {
    AsideKind.KEPT: N_("put aside by the revert of {migration}: {rows} rows of {place}"),
    AsideKind.UNDO: N_(
        "rows before and after {migration}: {rows} of {place}; without them it can't be undone row by row"
    ),
    AsideKind.CONFLICTS: N_("conflicts of the undo of {migration}: {rows} rows of {place}"),
}


@app.command(
    cls=Command,
    help=paragraphs(
        N_(
            "Dumps that no restore point, capture or rollout needs, and values put aside in the database: "
            "what is older than keep_days in database.yaml, or than --older-than. First it shows them; then "
            "it asks."
        ),
        N_("Without --yes, where nobody can be asked, it only shows. What went is in the audit."),
    ),
    epilog='lastgood expire storefront@prod/us --older-than 90 --reason "90 days"',
)
def expire(
    ctx: typer.Context,
    unit: Unit,
    older_than: Annotated[
        int, typer.Option(metavar="DAYS", min=0, help=N_("How old; else what the databases declare."))
    ] = 0,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Show what is old and needed by nothing; ask; discard it."""
    from lastgood.cli.change import ask
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    planned = session.service.databases.plan_expiry(parse(unit), days=older_than)
    for database in planned.databases:
        for line in lines_of(session.t, database):
            session.show(line)
    if planned.empty or not (yes or session.asks):
        session.document(planned)
        session.say(N_("Nothing was discarded."))
        return
    if not yes:
        ask(session, N_("Discard them? Nothing brings them back."))
    done = session.service.databases.expire(planned, reason=reason)
    session.document(done)
    for gone in done.databases:
        session.say(
            N_("{resource}: {snapshots} dumps and {aside} records are gone"),
            resource=gone.resource, snapshots=len(gone.snapshots), aside=len(gone.aside),
        )  # fmt: skip


def lines_of(t: Translator, found: DatabaseExpiry) -> list[Text]:
    """What of one database is old, and what of that is nowhere else."""
    title = t.text(
        N_("{resource}, from before {at}"), resource=found.resource, at=f"{found.before:%Y-%m-%d %H:%M}"
    )
    lines = [Text(title, "bold")]
    for one in found.snapshots:
        words = t.text(
            N_("dump of {at}, {size:.1f} MB: {id}"),
            at=f"{one.created_at:%Y-%m-%d %H:%M}", size=one.size / 1e6, id=one.id,
        )  # fmt: skip
        # One from a way back was taken before what it takes out went.
        apart = "" if one.expires else "; " + t.text(N_("it may hold what is nowhere else"))
        lines.append(Text("  " + words + apart))
    lines += [Text("  " + _told(t, record)) for record in found.aside]
    if not (found.snapshots or found.aside):
        lines.append(Text("  " + t.text(N_("nothing that may go")), "dim"))
    return lines


def _told(t: Translator, record: Aside) -> str:
    place = f"{record.relation.removeprefix('public.')}{'.' if record.column else ''}{record.column}"
    words = t.text(KINDS[record.kind], migration=record.migration, rows=record.rows, place=place)
    at = f"{record.at:%Y-%m-%d}"
    if record.kind is AsideKind.KEPT and not record.returned:
        return f"{at} {words}; " + t.text(N_("they are nowhere else"))
    return f"{at} {words}"
