"""A proof of a way back, drawn; and what is being proven, while it is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from lastgood.cli import words
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.proof import DatabaseProof, ImageProof, Proof
from lastgood.domain.restore_point import PointKind
from lastgood.domain.secret import shown
from lastgood.translation import Translator

LISTED = 10
"""How many missing pieces are listed."""


def proof_view(t: Translator, proof: Proof) -> Group:
    """The way back's pieces, the current release's, then a line for each database."""
    word, style = words.POINTS[PointKind(proof.kind)]
    head = Text.assemble(
        (t.text(N_("way back")), "bold"), f"  {short(proof.release)}  ", (t.text(word), style),
        (f"  {proof.point}", "dim"),
    )  # fmt: skip
    lines = [head, *_pieces(t, proof.release, proof.missing)]
    lines += _pieces(t, proof.current, proof.missing_current)
    lines += _revoked(t, proof)
    for image in proof.images:
        lines += _image(t, image)
    for database in proof.databases:
        lines += _database(t, database)
    lines.append(Text(t.text(N_("looked at {time}"), time=words.moment(proof.observed_at)), "dim"))
    return Group(*lines)


def _pieces(t: Translator, release: str, missing: Sequence[str]) -> list[Text]:
    if not missing:
        template = N_("{release}: every piece is here and undamaged")
        return [Text("● " + t.text(template, release=short(release)), "green")]
    template = N_("{release}: {count} pieces are missing or damaged:")
    lines = [Text("✗ " + t.text(template, release=short(release), count=len(missing)), "bold red")]
    lines += [Text(f"    {name}", "red") for name in missing[:LISTED]]
    if len(missing) > LISTED:
        lines.append(Text("    " + t.text(N_("… and {count} more"), count=len(missing) - LISTED), "dim"))
    todo = N_("Restore the state directory from a backup, or deploy again what is missing.")
    return [*lines, Text("  → " + t.text(todo))]


def _revoked(t: Translator, proof: Proof) -> list[Text]:
    """Restore points that would come back with other secrets, or not at all; bundles with revoked ones."""
    lines = []
    other = N_("{point}: comes back with {name} {new}; {old} was revoked by {by}")
    none = N_("{point}: no valid version of {name} is here. Give one: lastgood secrets renew {name}")
    for point, replaced in proof.renewed.items():
        for one in replaced:
            words_ = {"point": point, "name": one.name, "old": shown(one.old), "new": shown(one.new)}
            text = t.text(other if one.new else none, **words_, by=one.revocation.by)
            lines.append(Text(("○ " if one.new else "✗ ") + text, "yellow" if one.new else "bold red"))
    template = N_("{path}: this restore bundle holds a revoked secret: revoke it again, or delete the bundle")
    return [*lines, *(Text("✗ " + t.text(template, path=path), "bold red") for path in proof.bundles)]


def _image(t: Translator, image: ImageProof) -> list[Text]:
    places = {
        (True, True): N_("{image}: whole here, and held in the engine"),
        (True, False): N_("{image}: whole here"),
        (False, True): N_("{image}: held in the engine"),
        (False, False): N_("{image}: neither whole here nor held in the engine"),
    }
    good = not image.errors
    seen = t.text(places[image.kept, image.held], image=image.image)
    lines = [Text(("● " if good else "✗ ") + seen, "green" if good else "bold red")]
    if image.lacked and good:
        template = N_("{count} pieces were missing or damaged and were fetched again ({size} KiB)")
        size = -(-image.fetched // 1024)
        lines.append(Text("    " + t.text(template, count=image.lacked, size=size), "yellow"))
    lines += [Text(f"    {t(error)}", "red") for error in image.errors]
    if not good:
        todo = N_("Mend the cause and prove again: as long as the registry has it, it can be fetched.")
        lines.append(Text("  → " + t.text(todo)))
    return lines


def _database(t: Translator, database: DatabaseProof) -> list[Text]:
    name = database.resource
    if not database.snapshot:
        template = N_("{resource}: no snapshot yet; the next change that migrates takes one")
        return [Text("○ " + t.text(template, resource=name), "yellow")]
    taken = words.moment(database.taken_at) if database.taken_at else "-"
    if database.error is not None:
        template = N_("{resource}: the copy of {taken} failed its proof: {error}")
        lines = [
            Text("✗ " + t.text(template, resource=name, taken=taken, error=t(database.error)), "bold red")
        ]
        todo = N_("Mend the cause and prove again; the next change that migrates takes a new copy.")
        return [*lines, Text("  → " + t.text(todo))]
    template = N_("{resource}: the copy of {taken} ({size} KiB) loads as it was taken, in {time}")
    size, time = -(-database.size // 1024), words.seconds(database.seconds)
    return [Text("● " + t.text(template, resource=name, taken=taken, size=size, time=time), "green")]
