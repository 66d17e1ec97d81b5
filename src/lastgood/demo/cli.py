"""The commands of the demonstration: ``lastgood demo``, ``demo env``, ``demo stop``."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lastgood.cli.helping import Command, Group
from lastgood.demo.acts import Acts
from lastgood.demo.container_story import ContainerStory
from lastgood.demo.figures import report_data
from lastgood.demo.report import write_report
from lastgood.demo.report_data import ReportData
from lastgood.demo.restore_story import RestoreStory
from lastgood.demo.screen import LiveScreen, NoScreen, PlainScreen
from lastgood.demo.story import MariadbStory, Story
from lastgood.demo.world import default_directory, find_world, stop_world
from lastgood.domain.digest import plain
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.testing.mariadb_server import find_binary
from lastgood.translation import Translator, translator


class DatabaseKind(str, Enum):
    """What ``--database`` may be."""

    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"


NEXT = (
    "lastgood status",
    "lastgood history storefront@prod/us",
    "lastgood explain storefront@prod/de shop.currency",
    "lastgood drift storefront@prod/us",
    "lastgood audit verify",
)
"""What a reader may try next; each works on the estate that the demonstration leaves running."""
NEXT_IN_CONTAINERS = (
    "lastgood status",
    "lastgood history",
    "lastgood prove storefront@prod/de",
    "lastgood drift storefront@prod/us",
    "lastgood audit verify",
)


def run(directory: Path | None = None, *, story: type[Acts] = Story, as_json: bool = False) -> int:
    """Play the demonstration; returns 0 only when everything it promises was seen to be so."""
    where = (directory or default_directory()).resolve()
    console = Console()
    screen: LiveScreen | PlainScreen = PlainScreen()
    if as_json:
        screen = NoScreen()
    elif console.is_terminal:
        screen = LiveScreen(where, console)
    with screen:
        told = story(where, screen).tell()
    data = report_data(told)
    report = where / "report.html"
    write_report(report, data, "zh" if translator().locale.startswith("zh") else "en")
    if as_json:
        sys.stdout.write(json.dumps(_document(data, where, report), ensure_ascii=False, indent=1) + "\n")
    else:
        _tell_end(console, data, report)
    return 0 if data.proven else 1


def story_of(*, docker: bool, restore: bool, database: DatabaseKind) -> type[Acts]:
    """Raises InvalidInput when the options ask for two stories, or for a server that is not installed."""
    if docker and restore:
        raise InvalidInput(N_("--docker and --restore are two stories"), todo=N_("Leave one of them out."))
    if database is DatabaseKind.POSTGRESQL:
        return ContainerStory if docker else RestoreStory if restore else Story
    if docker or restore:
        raise InvalidInput(
            N_("--database mariadb is a story of its own"), todo=N_("Leave --docker and --restore out.")
        )
    try:
        for name in ("mariadbd", "mariadb-install-db", "mariadb"):
            find_binary(name)
    except FileNotFoundError:
        raise InvalidInput(
            N_("there is no {name} on PATH"),
            todo=N_(
                "Install the server (Debian: apt-get install mariadb-server); it need not run, the "
                "demonstration starts its own."
            ),
            name=name,
        ) from None
    return MariadbStory


def env(directory: Path | None = None) -> int:
    """Print the shell's words that point lastgood at the demonstration's estate."""
    where = (directory or default_directory()).resolve()
    world = find_world(where)
    if world is None:
        raise InvalidInput(
            N_("there is no demonstration in {path}"),
            todo=N_("Start one: lastgood demo"),
            path=str(where),
        )
    program = Path(sys.executable).parent
    for name, value in {
        "LASTGOOD_ESTATE": world.estate,
        "LASTGOOD_STATE": world.state,
        "LASTGOOD_KEY_FILE": world.key_file,
    }.items():
        sys.stdout.write(f"export {name}='{value}'\n")
    sys.stdout.write(f"export PATH='{program}':\"$PATH\"\n")
    return 0


def stop(directory: Path | None = None) -> int:
    """End everything the demonstration left running; its files stay."""
    t = translator()
    count = stop_world((directory or default_directory()).resolve())
    sys.stdout.write(
        t.text(N_("{count} processes ended; the report and all files stay."), count=count) + "\n"
    )
    return 0


def _document(data: ReportData, directory: Path, report: Path) -> dict[str, Any]:
    figures = data.figures
    return {
        "proven": data.proven,
        "detected_after_seconds": figures.detected_after,
        "restored_after_seconds": figures.restored_after,
        "requests": figures.requests,
        "requests_failed_once_back": figures.failed_after_back,
        "back_without_registry_after_seconds": figures.without_registry,
        "data_back_after_seconds": figures.data_back_after,
        "database_closed_seconds": figures.closed,
        "later_writes_carried_over": figures.carried,
        "orders_acknowledged": sum(row.acknowledged for row in data.ledger),
        "orders_in_database": sum(row.in_database for row in data.ledger),
        "orders_shipped_once": sum(row.shipped_once for row in data.ledger),
        "problems": [p.en for p in data.problems] + [w.en for row in data.ledger for w in row.problems],
        "directory": str(directory),
        "report": str(report),
        "data": plain(data),
    }


def _tell_end(console: Console, data: ReportData, report: Path) -> None:
    t = translator()
    figures = data.figures
    acknowledged = sum(row.acknowledged for row in data.ledger)
    in_database = sum(row.in_database for row in data.ledger)
    shipped = sum(row.shipped_once for row in data.ledger)
    table = Table.grid(padding=(0, 2))
    rows = [
        (N_("detected after"), _seconds(t, figures.detected_after), figures.detected_after is not None),
        (N_("all restored after"), _seconds(t, figures.restored_after), figures.restored_after is not None),
        (N_("requests failed once back"), str(figures.failed_after_back), figures.failed_after_back == 0),
        (N_("orders acknowledged / in the database"), f"{acknowledged} / {in_database}", not data.problems),
        (N_("shipped exactly once"), str(shipped), shipped == in_database),
    ]
    if data.in_containers:
        took = figures.without_registry
        rows.insert(2, (N_("back without the registry after"), _seconds(t, took), took is not None))
    if data.restored:
        took, closed = figures.data_back_after, figures.closed
        rows[2:2] = [
            (N_("data back after"), _seconds(t, took), took is not None),
            (N_("of that the database was closed"), _seconds(t, closed), closed is not None),
            (N_("later writes carried over"), str(figures.carried), figures.carried > 0),
        ]
    for name, value, good in rows:
        style = "green" if good else "bold red"
        table.add_row(f"[{style}]{'✓' if good else '✗'}[/]", t.text(name), f"[bold]{value}[/]")
    console.print()
    console.print(table)
    for words in [*data.problems, *(w for row in data.ledger for w in row.problems)]:
        console.print(f"[bold red]✗ {words.zh if t.locale.startswith('zh') else words.en}[/]")
    console.print()
    console.print(t.text(N_("Report: {path}"), path=str(report)), soft_wrap=True)
    console.print(t.text(N_("The estate goes on running. Try next:")))
    console.print('  eval "$(.venv/bin/lastgood demo env)"', highlight=False, soft_wrap=True)
    for line in NEXT_IN_CONTAINERS if data.in_containers else NEXT:
        console.print(f"  {line}", highlight=False)
    console.print(t.text(N_("End it with: lastgood demo stop")))


def _seconds(t: Translator, value: float | None) -> str:
    return t.text(N_("did not happen")) if value is None else f"{value:.2f} s"


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    cls=Group,
    epilog="lastgood demo --docker\nlastgood demo --restore\nlastgood demo --database mariadb",
    help=N_("About a minute; it needs no root. It ends non-zero unless all that it promises was seen."),
)
Directory = Annotated[
    Path | None, typer.Option("--directory", metavar="DIR", help=N_("Where the demonstration lives."))
]
Docker = Annotated[
    bool,
    typer.Option("--docker", help=N_("With containers: three sites, a registry, HAProxy; it needs root.")),
]
Restore = Annotated[
    bool,
    typer.Option("--restore", help=N_("A migration spoils data; a restore brings it back with every order.")),
]
Database = Annotated[DatabaseKind, typer.Option("--database", help=N_("What the shop keeps its orders in."))]
AsJson = Annotated[bool, typer.Option("--json", help=N_("The outcome as one JSON document."))]


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    directory: Directory = None,
    docker: Docker = False,
    restore: Restore = False,
    database: Database = DatabaseKind.POSTGRESQL,
    json: AsJson = False,
) -> None:
    # What is typed is explained by the app's own help; the directory is kept for the sub-commands.
    context.obj = directory
    if context.invoked_subcommand is None:
        story = story_of(docker=docker, restore=restore, database=database)
        raise typer.Exit(run(directory, story=story, as_json=json))


@app.command("stop", cls=Command, help=N_("End everything the demonstration left running."))
def stop_command(context: typer.Context, directory: Directory = None) -> None:
    raise typer.Exit(stop(directory or context.obj))


@app.command("env", cls=Command, help=N_("Print what points your shell at the demonstration's estate."))
def env_command(context: typer.Context, directory: Directory = None) -> None:
    raise typer.Exit(env(directory or context.obj))
