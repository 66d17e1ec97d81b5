"""What lastgood itself knows may not lie where a restore puts back what was there before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.estate import model
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import problem
from lastgood.estate.yamlfile import Path as Place
from lastgood.ports.estate import Problem
from lastgood.ports.rewinding import OwnState


def rewound(
    estate: OpenEstate, release: Release, databases: Mapping[str, model.DatabaseDeclared]
) -> Iterator[Problem]:
    """A finding for each database of ``release`` whose restore would take lastgood's own state back."""
    if estate.own is None:
        return
    for target in release.databases:
        declared = databases.get(target.resource.partition("@")[0])
        file = _meets(estate.own, target)
        if declared is not None and file is not None:
            above: Place = () if declared.file.startswith("databases/") else ("databases", declared.name)
            yield problem(
                declared.file,
                declared.document.line((*above, "url")),
                N_("a restore of {resource} would take our own state back: {file} and {state} overlap"),
                N_("Keep the two apart: another file for the database, or another --state (LASTGOOD_STATE)."),
                resource=target.resource,
                file=str(file),
                state=str(estate.own.directory),
            )


def _meets(own: OwnState, target: DatabaseTarget) -> Path | None:
    """The file that is one of ours, or holds ours; also by another name of the same directory."""
    rewinds = own.rewinders.of(target.target.driver)
    state = own.directory.resolve()
    try:
        found = rewinds.rewound(target.target.settings) if rewinds is not None else ()
    except InvalidInput:
        return None  # What is wrong with the settings is said by who needs them all.
    for named in found:
        path = named.resolve()
        if path.is_relative_to(state) or state.is_relative_to(path):
            return named
    return None
