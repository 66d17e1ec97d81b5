"""Every mistake of an estate in one pass, each with file, line and mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.estate import (
    databases,
    lint_files,
    lint_journey,
    lint_keep,
    lint_registries,
    lint_service,
    lint_state,
    lint_values,
    lint_waves,
    loader,
    model,
)  # fmt: skip
from lastgood.estate.layers import Layer
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import ERROR, Invalid, problem
from lastgood.estate.render import Context, Text, leaves
from lastgood.estate.tree import ROOT
from lastgood.estate.units import ServiceUnits
from lastgood.ports.estate import Problem

T = TypeVar("T")


class Findings:
    """Problems, each once: the same mistake seen from many units is one, told for the first of them."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Problem] = {}

    def add(self, findings: Iterable[Problem]) -> None:
        for found in findings:
            params = tuple(sorted((k, str(v)) for k, v in found.what.params.items() if k != "unit"))
            self._found.setdefault((found.path, found.line, found.what.template, params), found)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """The result, or None and the finding that stopped it."""
        try:
            return work()
        except Invalid as wrong:
            self.add([wrong.finding])
            return None

    def sorted(self) -> list[Problem]:
        """Errors and warnings by file and line."""
        return sorted(self._found.values(), key=lambda p: (p.path, p.line, p.severity != ERROR, str(p.what)))


def lint(estate: OpenEstate) -> Sequence[Problem]:
    """All findings, sorted by file and line; each once, however many units it is in."""
    findings = Findings()
    findings.add(estate.tree.problems)
    known = _databases(estate, findings)
    services = _services(estate, findings)
    findings.add(lint_waves.waves(estate))
    findings.add(lint_waves.needs(estate, services))
    for database in known.values():
        findings.add(lint_service.database(estate, database, services))
        findings.add(lint_keep.keep(database))
        findings.add(lint_journey.journey(database))
    findings.add(lint_files.databases(estate))
    findings.add(lint_registries.logins(estate.declared, services))
    if not services:
        findings.add(
            [problem(ROOT, 0, N_("the estate has no service"), N_("Add services/<name>/service.yaml."))]
        )
    for service in services.values():
        findings.add(lint_service.service(estate, service, known))
        findings.add(lint_files.service(estate, service))
        for release in _render(estate, service, _layers(estate, service, findings), findings):
            findings.add(lint_state.rewound(estate, release, known))
    return findings.sorted()


def _databases(estate: OpenEstate, findings: Findings) -> dict[str, model.DatabaseDeclared]:
    declared = {}
    for name in databases.database_names(estate.tree, estate.declared):
        found: list[Problem] = []
        database = databases.load_database(estate.parser, estate.tree, estate.declared, name, found)
        findings.add(found)
        if database is not None:
            declared[name] = database
    return declared


def _services(estate: OpenEstate, findings: Findings) -> dict[str, model.ServiceDeclared]:
    declared = {}
    for name in estate.service_names():
        found: list[Problem] = []
        service = loader.load_service(estate.parser, estate.tree, name, found)
        findings.add(found)
        if service is not None:
            declared[name] = service
    return declared


def _layers(estate: OpenEstate, service: model.ServiceDeclared, findings: Findings) -> list[UnitId]:
    """Check the layers of a service; the units whose layers can be read."""
    broken: set[str] = set()
    read: list[Layer] = []
    for name, file in lint_files.layer_files(estate, service):
        layer = findings.attempt(lambda n=name, f=file: loader.load_layer(estate.parser, estate.tree, n, f))  # type: ignore[misc]
        if layer is None:
            broken.add(file)
        else:
            read.append(layer)
    findings.add(lint_values.literals(service, read))
    return [
        unit
        for unit in estate.units_of(service)
        if broken.isdisjoint(
            file for _, file in loader.layer_files(unit.service, unit.environment, unit.site)
        )
    ]


def _render(
    estate: OpenEstate, service: model.ServiceDeclared, units: Sequence[UnitId], findings: Findings
) -> list[Release]:
    """Render every unit; where one fails, each of its templates by itself, for all that is wrong."""
    releases = []
    texts = _texts(estate, service, findings)
    findings.add(lint_values.differences(estate, service, units))
    findings.add(lint_values.unused(estate, units, texts))
    opened = ServiceUnits(service, estate.shared)
    for unit in units:
        context = estate.context(opened, unit)
        try:
            releases.append(opened.render(unit, context).release)
        except Invalid as wrong:
            findings.add([wrong.finding])
            _each(estate, texts, context, findings)
    return releases


def _each(estate: OpenEstate, texts: list[Text], context: Context, findings: Findings) -> None:
    renderer = estate.shared.renderer
    for text in texts:
        if "/_" in text.file.partition("/templates")[2]:
            continue
        findings.add(renderer.faults(text, context))


def _texts(estate: OpenEstate, service: model.ServiceDeclared, findings: Findings) -> list[Text]:
    """Every template of a service, in files and in settings, that can be compiled."""
    renderer = estate.shared.renderer
    found: list[Text | None] = []
    for path in estate.tree.paths("services", service.name):
        if path.startswith(f"{service.folder}templates/") and path.endswith(".j2"):
            content = estate.tree.files[path].content
            found.append(findings.attempt(lambda p=path, c=content: renderer.file(p, c)))  # type: ignore[misc]
    declared = service.document.data
    for leaf in leaves(_settings(estate, service, declared)):
        found.append(findings.attempt(lambda x=leaf: renderer.template(x.text, x.file, x.line)))  # type: ignore[misc]
    return [text for text in found if text is not None]


def _settings(
    estate: OpenEstate, service: model.ServiceDeclared, declared: dict[str, object]
) -> list[object]:
    """What of a service can hold templates, and the driver settings it falls back on."""
    uses = [use for use in (service.files, service.runtime, service.traffic, service.registry) if use]
    drivers = {use.driver for use in uses} | {signal.driver for signal in service.signals.values()}
    tables = [estate.declared.drivers, *estate.declared.overrides.values()]
    return [
        service.artifact,
        service.image,
        [use.settings for use in uses],
        [[role.command, role.environment] for role in service.roles],
        [[secret.env, secret.file] for secret in service.secrets],
        [signal.settings for signal in service.signals.values()],
        [table[name] for table in tables for name in sorted(drivers) if name in table],
    ]
