"""How a change goes over many units: the site that goes first, and which service needs which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lastgood.domain.message import N_
from lastgood.estate import model
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import WARNING, problem, unknown
from lastgood.estate.tree import ROOT
from lastgood.estate.yamlfile import Path
from lastgood.ports.estate import Problem

Services = Mapping[str, model.ServiceDeclared]


def waves(estate: OpenEstate) -> Iterator[Problem]:
    """Findings on the waves of lastgood.yaml."""
    declared = estate.declared
    yield from _canary(declared, ("waves",), declared.document.data.get("waves", {}), "")
    for position, entry in enumerate(declared.document.data["environments"]):
        path = ("environments", position, "waves")
        yield from _canary(declared, path, entry.get("waves", {}), entry["name"])


def _canary(
    declared: model.EstateDeclared, path: Path, given: Mapping[str, object], environment: str
) -> Iterator[Problem]:
    """``environment`` is empty for what holds for all of them: there the site may be missing from some."""
    name = given.get("canary")
    if name is None:
        return
    line = declared.document.line((*path, "canary"))
    site = next((s for s in declared.sites if s.name == name), None)
    if site is None:
        known = [s.name for s in declared.sites]
        yield unknown(ROOT, line, N_("there is no site '{word}'"), str(name), known)
    elif environment and site.environments and environment not in site.environments:
        yield problem(
            ROOT,
            line,
            N_("the site '{site}' does not exist in the environment '{environment}'"),
            N_("Name a site of this environment, or none."),
            site=site.name,
            environment=environment,
        )


def needs(estate: OpenEstate, services: Services) -> Iterator[Problem]:
    """Findings on what services say to need."""
    names = estate.service_names()
    for service in services.values():
        for index, needed in enumerate(service.needs):
            line = service.document.line(("needs", index))
            if needed not in names:
                yield unknown(service.file, line, N_("there is no service '{word}'"), needed, names)
            elif needed in services and not _meet(estate, service, services[needed]):
                yield problem(
                    service.file,
                    line,
                    N_("'{needed}' runs nowhere beside this service: needing it orders nothing"),
                    N_("Remove it, or widen 'sites' or 'environments' of one of them."),
                    severity=WARNING,
                    needed=needed,
                )
        circle = _circle(service.name, services)
        # Each circle is told once, where its first service by name stands.
        if circle and service.name == min(circle):
            yield problem(
                service.file,
                service.document.line(("needs",)),
                N_("services need each other in a circle: {circle}"),
                N_("Remove one of these needs: none of them could be deployed first."),
                circle=" → ".join((*circle, service.name)),
            )


def _meet(estate: OpenEstate, one: model.ServiceDeclared, other: model.ServiceDeclared) -> bool:
    places = {(u.environment, u.site) for u in estate.units_of(one)}
    return any((u.environment, u.site) in places for u in estate.units_of(other))


def _circle(start: str, services: Services) -> Sequence[str]:
    """The shortest way from a service over what it needs to itself, empty when there is none."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    waiting = [start]
    for name in waiting:
        for needed in services[name].needs:
            if needed == start:
                return ways[name]
            if needed in services and needed not in ways:
                ways[needed] = (*ways[name], needed)
                waiting.append(needed)
    return ()
