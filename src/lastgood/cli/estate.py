"""init, lint, explain, render: the estate as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lastgood.cli.arguments import Command, Unit, Worktree, commands
from lastgood.domain.message import N_

app = commands()
NAMED = {"context_settings": {"help_option_names": ["-h", "--help"]}, "cls": Command}


@app.command(
    help=N_(
        "Each with its place and the mend. The exit code is 2 when there are errors; warnings alone are 0."
    ),
    epilog="lastgood lint\nlastgood lint --commit main",
    **NAMED,  # type: ignore[arg-type]
)
def lint(ctx: typer.Context, commit: Worktree = "") -> None:
    """Show all problems."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    problems = list(session.service.lint(commit))
    errors = sum(1 for p in problems if p.severity == "error")
    reviewed, hurting = session.service.review(commit)
    problems = sorted([*problems, *hurting], key=lambda p: (p.path, p.line))
    warnings = len(problems) - errors
    session.document({
        "errors": errors, "warnings": warnings, "problems": problems, "migrations": reviewed,
    })  # fmt: skip
    if not session.json:
        _show(session, problems, reviewed)
    if problems:
        session.say(N_("{errors} errors, {warnings} warnings"), errors=errors, warnings=warnings)
    else:
        session.say(N_("no mistakes found"))
    if errors:
        raise typer.Exit(2)


def _show(session: Any, problems: Sequence[Any], reviewed: Sequence[Any]) -> None:
    pending = [one for one in reviewed if one.review is not None and not one.deployed]
    if problems or pending:
        from lastgood.cli.estate_view import class_lines, problem_lines

        for problem in problems:
            # SQL that is to be copied gets no line breaks of ours.
            session.console.print(problem_lines(session.t, problem), soft_wrap=problem.finding is not None)
        for one in pending:
            session.console.print(class_lines(session.t, one), soft_wrap=True)


@app.command(
    help=N_("Layers are listed from the base upwards; the last one that sets the key wins."),
    epilog="lastgood explain storefront@prod/us payment.timeout",
    **NAMED,  # type: ignore[arg-type]
)
def explain(
    ctx: typer.Context,
    unit: Unit,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help=N_("A value's key, for example payment.timeout."))
    ],
    commit: Worktree = "",
) -> None:
    """Show the layers of a value."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    provenance = session.service.explain(parse(unit), key, commit)
    layers = [
        {"layer": layer, "file": file, "line": line, "value": value, "wins": n == len(provenance.layers)}
        for n, (layer, file, line, value) in enumerate(provenance.layers, 1)
    ]
    session.document({"unit": unit, "key": key, "value": provenance.value, "layers": layers})
    if not session.json:
        from lastgood.cli.estate_view import layer_table

        session.show(layer_table(session.t, provenance))


@app.command(
    help=N_("Secrets are never in it: only their names."),
    epilog="lastgood render storefront@prod/us --out rendered",
    **NAMED,  # type: ignore[arg-type]
)
def render(
    ctx: typer.Context,
    unit: Unit,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help=N_("Write the files there instead of showing them."))
    ] = None,
    commit: Worktree = "",
) -> None:
    """Show or write a unit's rendered files."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    release, files = session.service.render(parse(unit), commit)
    if out is not None:
        _write(out, files)
    document: dict[str, Any] = {"unit": unit, "release": release.digest, "commit": release.commit, "out": out}
    document["files"] = {path: content.decode(errors="replace") for path, content in files.items()}
    session.document(document)
    if out is not None:
        session.say(N_("{count} files written to {directory}"), count=len(files), directory=out)
    elif not session.json:
        from lastgood.cli.estate_view import file_text

        for path, content in files.items():
            session.show(file_text(path, content))
        if not files:
            session.say(N_("{unit} has no configuration files"), unit=unit)


def _write(directory: Path, files: dict[str, bytes]) -> None:
    from lastgood.domain.errors import InvalidInput

    for path, content in files.items():
        target = directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise InvalidInput(
                N_("{path} can't be written: {why}"),
                todo=N_("Look for free space and the right to write, then try again."),
                where=str(target),
                path=path,
                why=error.strerror or str(error),
            ) from error
