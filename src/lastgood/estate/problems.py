"""Findings gathered in one pass, and the one that stops a render."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_, Message
from lastgood.ports.estate import Problem

ERROR = "error"
WARNING = "warning"


def problem(path: str, line: int, what: str, mend: str, /, severity: str = ERROR, **params: Any) -> Problem:
    """A finding; ``what`` and ``mend`` are ``N_`` templates filled from ``params``."""
    return Problem(path, line, Message(what, params), Message(mend, params), severity)


def place(path: str, line: int) -> str:
    """``file:line``, or the file alone when the line is unknown (0)."""
    return f"{path}:{line}" if line else path


class Invalid(InvalidInput):
    """A finding that stops what is being done; lint catches it and keeps ``finding``."""

    def __init__(self, finding: Problem) -> None:
        self.finding = finding
        params = {**finding.what.params, **finding.mend.params}
        super().__init__(
            finding.what.template,
            todo=finding.mend.template,
            where=place(finding.path, finding.line),
            **params,
        )


def invalid(path: str, line: int, what: str, mend: str, /, **params: Any) -> Invalid:
    """An exception to raise, with file and line."""
    return Invalid(problem(path, line, what, mend, **params))


def raise_first(findings: Iterable[Problem]) -> None:
    """Raise the first error among the findings, if there is one."""
    for finding in findings:
        if finding.severity == ERROR:
            raise Invalid(finding)


def nearest(word: str, known: Iterable[str]) -> str:
    """The most similar of the known words, ``""`` when none is similar."""
    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return found[0] if found else ""


def unknown(path: str, line: int, what: str, word: str, known: Iterable[str], /, **params: Any) -> Problem:
    """A name that does not exist, with the nearest one offered or all of them listed."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        mend = N_("Did you mean '{near}'?")
    elif names:
        mend = N_("Known here: {known}.")
    else:
        mend = N_("Nothing of that kind is declared yet.")
    return problem(path, line, what, mend, word=word, near=near, known=", ".join(names[:20]), **params)
