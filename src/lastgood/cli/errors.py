"""How errors are said: what, where, what to do next, and an exit code. The only place that does."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import typer

from lastgood.cli.options import hoist
from lastgood.domain.digest import plain
from lastgood.domain.errors import Cause, InvalidInput, LastgoodError
from lastgood.domain.message import N_
from lastgood.translation import translator

USAGE: tuple[type[BaseException], ...] = typer.BadParameter.__mro__[:3]
"""What the option parser raises, whichever version of it is inside Typer."""
INTERRUPTED = 130
BROKEN_PIPE = 141
CAUSES = {
    Cause.PERMISSION: N_("cause: a missing right"),
    Cause.DEPENDENCY_DOWN: N_("cause: something it depends on is down"),
    Cause.SCRIPT_ERROR: N_("cause: an error in a script"),
    Cause.TABLE_LOCK: N_("cause: a table is locked"),
    Cause.WRONG_PATH: N_("cause: a wrong path"),
}


def guarded(words: Sequence[str], work: Callable[[], None]) -> int:
    """Do the work; returns the exit code and says what went wrong."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        work()
        sys.stdout.flush()
    except LastgoodError as error:
        return say_error(error, as_json=wants_json(words))
    except typer.Exit as end:
        return end.exit_code
    except USAGE as error:
        return say_error(from_usage(error), as_json=wants_json(words))
    except (KeyboardInterrupt, typer.Abort):
        print(
            translator().text(N_("Stopped. What was accepted before goes on; see lastgood status.")),
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads us has seen enough; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return 0


def wants_json(words: Sequence[str]) -> bool:
    return "--json" in hoist(words)[:7]


def say_error(error: LastgoodError, *, as_json: bool = False) -> int:
    """On standard error for people, on standard output as data."""
    if as_json:
        print(json.dumps(error_document(error), ensure_ascii=False))
    else:
        print("\n".join(error_lines(error, coloured=_colours(sys.stderr))), file=sys.stderr)
    return error.exit_code


def error_document(error: LastgoodError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "what": str(error.what),
        "where": error.where,
        "todo": str(error.todo),
        "cause": plain(error.cause),
        "exit_code": error.exit_code,
    }


def error_lines(error: LastgoodError, *, coloured: bool = False) -> list[str]:
    """``✗ what``, where, the cause if it is a classic one, ``→ todo``."""
    t = translator()
    red, dim, off = ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") if coloured else ("", "", "")
    lines = [f"{red}✗{off} {t(error.what)}"]
    if error.where:
        lines.append(f"  {dim}{error.where}{off}")
    if error.cause is not None:
        lines.append(f"  {t.text(CAUSES[error.cause])}")
    if error.todo:
        lines.append(f"  → {t(error.todo)}")
    return lines


def _colours(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def from_usage(error: Any) -> LastgoodError:
    """A mistake in options or arguments, in our own words where they are known."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "lastgood"
    todo = N_("See {command} --help.")
    kind = type(error).__name__
    if kind == "NoSuchOption":
        near = ", ".join(error.possibilities or ())
        if near:
            todo = N_("Did you mean {near}? See {command} --help.")
        return InvalidInput(
            N_("there is no option {option}"), todo=todo, option=error.option_name, command=command, near=near
        )
    if kind == "MissingParameter" and error.param is not None:
        name = max(error.param.opts, key=len)
        name = name if name.startswith("-") else name.upper()
        return InvalidInput(N_("{name} is missing"), todo=todo, name=name, command=command)
    return InvalidInput(N_("{text}"), todo=todo, text=error.format_message(), command=command)


def install_crash_report(words: Sequence[str]) -> None:
    """An error that nobody foresaw: one line for the user, the trace into a file."""

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        path = _keep_trace(text, words)
        t = translator()
        print(
            "✗ " + t.text(N_("internal error {kind}: {text}"), kind=kind.__name__, text=str(error)),
            "  → " + t.text(N_("This is a fault of lastgood; please report it with {path}."), path=path),
            sep="\n",
            file=sys.stderr,
        )

    sys.excepthook = report


def _keep_trace(text: str, words: Sequence[str]) -> str:
    """Beside the state if that can be written to, else in a directory for temporary files."""
    import tempfile
    from datetime import datetime

    name = f"crash-{datetime.now():%y%m%d-%H%M%S}-{os.getpid()}.log"
    for directory in (_state_directory(words), Path(tempfile.gettempdir())):
        if directory is None or not directory.is_dir():
            continue
        try:
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return str(directory / name)
    return "-"


def _state_directory(words: Sequence[str]) -> Path | None:
    from lastgood.bootstrap.places import find_places

    front = hoist(words)
    named = dict(pairwise(front))
    state, estate = named.get("--state"), named.get("--estate")
    try:
        return find_places(
            state=Path(state) if state else None, estate=Path(estate) if estate else None
        ).state
    except LastgoodError:
        return None
