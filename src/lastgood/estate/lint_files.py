"""Files that nothing reads, and layers for sites and environments that don't exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lastgood.domain.message import N_
from lastgood.estate import loader, model
from lastgood.estate.databases import JOURNEY, JOURNEYS, SCRIPTS
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import WARNING, problem, unknown
from lastgood.estate.render import Templated
from lastgood.ports.estate import Problem

_FOR_PEOPLE = re.compile(
    r"(README|LICENSE|CHANGELOG|OWNERS)[^/]*|.*\.(md|rst|txt)|\.(gitignore|gitattributes|gitkeep|editorconfig)"
)


def layer_files(estate: OpenEstate, service: model.ServiceDeclared) -> list[tuple[str, str]]:
    """(name, file) of every layer that belongs to some environment and site, lowest first."""
    found = {}
    for environment in estate.declared.environments:
        for site in estate.declared.sites:
            for name, file in loader.layer_files(service.name, environment.name, site.name):
                if file in estate.tree.files:
                    found[file] = name
    return [(name, file) for file, name in found.items()]


def service(estate: OpenEstate, service: model.ServiceDeclared) -> Iterator[Problem]:
    """Findings on the files of a service."""
    layers = {file for _, file in layer_files(estate, service)}
    artifact = (
        service.artifact.text.partition("{")[0]
        if isinstance(service.artifact, Templated)
        else service.artifact
    )
    artifact = artifact.removeprefix("./").strip("/")
    used = tuple(f"{service.folder}{part}/" for part in ("templates", artifact) if part)
    if isinstance(service.artifact, Templated):
        used = tuple(prefix.removesuffix("/") for prefix in used)
    for path in estate.tree.paths("services", service.name):
        if path == service.file or path in layers or path.startswith(used) or _for_people(path):
            continue
        inside = path.removeprefix(service.folder)
        yield _layer(estate, path, inside) or _unused(path)


def _for_people(path: str) -> bool:
    return _FOR_PEOPLE.fullmatch(path.rpartition("/")[2]) is not None


def _unused(path: str) -> Problem:
    return problem(
        path,
        0,
        N_("nothing reads this file"),
        N_("Remove it, or move it into 'templates' or the artifact's folder."),
        severity=WARNING,
    )


def _layer(estate: OpenEstate, path: str, inside: str) -> Problem | None:
    """A layer that no unit reads is a trap: what it sets seems to hold and doesn't."""
    if inside.endswith(".yml"):
        return problem(path, 0, N_("the file ends in .yml and is not read"), N_("Rename it to .yaml."))
    parts = inside.removesuffix(".yaml").split("/")
    sites = [site.name for site in estate.declared.sites]
    environments = [environment.name for environment in estate.declared.environments]
    if not inside.endswith(".yaml"):
        return None
    if parts[0] == "sites" and len(parts) == 2:
        return unknown(path, 0, N_("there is no site '{word}'; nothing reads this layer"), parts[1], sites)
    if parts[0] == "environments" and len(parts) in (2, 3):
        if parts[1] not in environments:
            what = N_("there is no environment '{word}'; nothing reads this layer")
            return unknown(path, 0, what, parts[1], environments)
        return unknown(path, 0, N_("there is no site '{word}'; nothing reads this layer"), parts[-1], sites)
    return None


def databases(estate: OpenEstate) -> Iterator[Problem]:
    """Files of databases that nothing reads."""
    for name in estate.tree.names("databases"):
        folder = f"databases/{name}/"
        for path in estate.tree.paths("databases", name):
            inside = path.removeprefix(folder)
            parts = inside.split("/")
            script = (
                len(parts) == 3 and parts[0] == "migrations" and parts[2] in {f"{s}.sql" for s in SCRIPTS}
            )
            journey = len(parts) == 2 and parts[0] == JOURNEYS and parts[1].endswith(".sql")
            known = inside in ("database.yaml", JOURNEY) or script or journey
            if not known and not _for_people(path):
                yield _unused(path)
