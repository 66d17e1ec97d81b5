"""One service's units: what its sites and environments share is made once, the rest for each unit."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.criterion import Criterion, Signal
from lastgood.domain.digest import digest_bytes
from lastgood.domain.message import N_
from lastgood.domain.release import (
    Artifact,
    DatabaseTarget,
    FileEntry,
    Migration,
    Release,
    RoleSpec,
    SecretReference,
)
from lastgood.domain.unit import Site, Target, UnitId
from lastgood.estate import artifact, model, registries
from lastgood.estate.layers import merge
from lastgood.estate.problems import Invalid, invalid, unknown
from lastgood.estate.render import Context, Renderer, Text, leaves
from lastgood.estate.tree import File, Tree
from lastgood.ports.estate import Rendered

Make = Callable[[Context], Any]


@dataclass
class Shared:
    """What all services of one commit share; drivers' defaults are merged once per environment."""

    commit: str
    tree: Tree
    estate: model.EstateDeclared
    renderer: Renderer
    database: Callable[[str, str, int], model.DatabaseDeclared]
    defaults: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    directories: dict[str, artifact.Loaded] = field(default_factory=dict)
    migrations: dict[str, tuple[tuple[Migration, ...], dict[str, bytes]]] = field(default_factory=dict)

    def driver(self, name: str, environment: str) -> dict[str, Any]:
        """Default settings of a driver in an environment (prepared)."""
        key = (name, environment)
        if key not in self.defaults:
            over = self.estate.overrides.get(environment, {}).get(name, {})
            self.defaults[key] = merge(self.estate.drivers.get(name, {}), over)
        return self.defaults[key]

    def steps(self, declared: model.DatabaseDeclared) -> tuple[tuple[Migration, ...], dict[str, bytes]]:
        """The migrations of a database, and the contents of their scripts and of its journeys."""
        name = declared.name
        if name not in self.migrations:
            journeys = [one for one in (declared.journey, *declared.journeys.values()) if one]
            contents: dict[str, bytes] = {digest_bytes(one): one for one in journeys}
            steps = []
            for triple in declared.migrations:
                scripts = (triple.deploy, triple.verify, triple.revert)
                names = [digest_bytes(script) for script in scripts]
                contents.update(zip(names, scripts, strict=True))
                steps.append(Migration(triple.name, *names, contracts=triple.contracts))
            self.migrations[name] = (tuple(steps), contents)
        return self.migrations[name]


@dataclass(frozen=True)
class _InEnvironment:
    """A service in one environment, compiled: each function makes its part for one unit."""

    files: Make | None
    runtime: Make | None
    traffic: Make | None
    image: Make | None
    registry: Make | None
    roles: Make
    databases: tuple[tuple[str, Make], ...]
    signals: tuple[tuple[model.CriterionDeclared, Make], ...]
    secrets: Make


class ServiceUnits:
    """Renders the units of one service."""

    def __init__(self, service: model.ServiceDeclared, shared: Shared) -> None:
        self.service = service
        self.shared = shared
        self._environments: dict[str, _InEnvironment] = {}
        self._templates: list[tuple[str, Text | None, File]] | None = None

    def context(self, unit: UnitId, site: Site, values: dict[str, Any]) -> Context:
        """The variables that templates of this unit see."""
        return {
            "values": values,
            "environment": unit.environment,
            "site": unit.site,
            "service": unit.service,
            "estate": self.shared.estate.name,
            "platform": site.platform,
            "region": site.region,
        }

    def render(self, unit: UnitId, context: Context) -> Rendered:
        """Raises Invalid with file, line and mend."""
        compiled = self._environments.get(unit.environment)
        if compiled is None:
            compiled = self._environments[unit.environment] = self._compile(unit.environment)
        files, contents = self._render_files(context)
        found = self._artifact_of(context)
        traffic = compiled.traffic(context) if compiled.traffic else None
        databases, parts = [], [contents]
        for name, make in compiled.databases:
            databases.append(make(context))
            parts.append(self.shared.steps(self._declared(name))[1])
        if found is not None:
            parts.append(found[1])
        by_name = {name: d for (name, _), d in zip(compiled.databases, databases, strict=True)}
        image, registry, logins = registries.image_of(
            self.service, compiled.image, compiled.registry, context
        )
        release = Release(
            unit=unit,
            commit=self.shared.commit,
            files=files,
            artifact=found[0] if found is not None else None,
            databases=tuple(databases),
            roles=compiled.roles(context),
            files_target=compiled.files(context) if compiled.files else None,
            runtime=compiled.runtime(context) if compiled.runtime else None,
            traffic=traffic,
            criteria=tuple(
                self._criterion(c, make, context, traffic, by_name) for c, make in compiled.signals
            ),
            windows=self.service.windows,
            registry=registry,
            canary=self.service.canary,
            keep=self.service.keep,
        )
        return Rendered(release, (*compiled.secrets(context), *logins), _contents(parts), image)

    # -- files ------------------------------------------------------------------------------------

    def outputs(self) -> list[tuple[str, Text | None, File]]:
        """(path of the rendered file, template or None for a copy, source), sorted by path."""
        if self._templates is None:
            self._templates = self._find_templates()
        return self._templates

    def _find_templates(self) -> list[tuple[str, Text | None, File]]:
        folder = f"{self.service.folder}templates/"
        found: dict[str, tuple[str, Text | None, File]] = {}
        for path in self.shared.tree.paths("services", self.service.name):
            name = path.removeprefix(folder)
            if not path.startswith(folder) or any(part.startswith("_") for part in name.split("/")):
                continue
            source = self.shared.tree.files[path]
            text = self.shared.renderer.file(path, source.content) if name.endswith(".j2") else None
            name = name.removesuffix(".j2")
            if name in found or not name or name.endswith("/"):
                raise invalid(
                    path,
                    0,
                    N_("two templates make the file '{name}'"),
                    N_("Rename or remove one of them."),
                    name=name,
                )
            found[name] = (name, text, source)
        return [found[name] for name in sorted(found)]

    def _render_files(self, context: Context) -> tuple[tuple[FileEntry, ...], dict[str, bytes]]:
        entries, contents = [], {}
        for path, text, source in self.outputs():
            content = source.content if text is None else self.shared.renderer.text(text, context).encode()
            name = digest_bytes(content)
            contents[name] = content
            entries.append(FileEntry(path, name, source.mode))
        return tuple(entries), contents

    def _artifact_of(self, context: Context) -> tuple[Artifact, dict[str, bytes]] | None:
        setting = self.service.artifact
        if not setting:
            return None
        make = self.shared.renderer.settings(setting)
        path: Any = make(context) if make else setting
        key = path if path.startswith("/") else f"{self.service.name}:{path}"
        directories = self.shared.directories
        if key not in directories:
            file, line = self.service.file, self.service.document.line(("artifact", "path"))
            if path.startswith("/"):
                directories[key] = artifact.from_directory(path, file, line)
            else:
                directories[key] = artifact.from_tree(self.shared.tree, self.service.name, path, file, line)
        return directories[key]

    # -- settings ---------------------------------------------------------------------------------

    def _compile(self, environment: str) -> _InEnvironment:
        service = self.service
        return _InEnvironment(
            files=self._use(service.files, environment),
            runtime=self._use(service.runtime, environment),
            traffic=self._use(service.traffic, environment),
            image=registries.image_maker(service, self.shared.renderer),
            registry=self._use(service.registry, environment),
            roles=self._roles(),
            databases=tuple((name, self._database(name, environment)) for name in service.databases),
            signals=tuple((c, self._signal(c, environment)) for c in service.criteria),
            secrets=self._secrets(),
        )

    def _use(self, use: model.DriverUse | None, environment: str) -> Make | None:
        if use is None:
            return None
        settings = merge(self.shared.driver(use.driver, environment), use.settings)
        return self._target(use.driver, settings)

    def _target(self, driver: str, settings: dict[str, Any]) -> Make:
        make = self.shared.renderer.settings(settings)
        if make is None:
            target = Target(driver, settings)
            return lambda context: target
        return lambda context: Target(driver, make(context))

    def _roles(self) -> Make:
        made = [self._role(role) for role in self.service.roles]
        return lambda context: tuple(make(context) for make in made)

    def _role(self, role: model.RoleDeclared) -> Make:
        command = self.shared.renderer.settings(role.command)
        environment = self.shared.renderer.settings(role.environment)
        fixed_command: Any = role.command
        fixed_environment: Any = role.environment

        def spec(context: Context) -> RoleSpec:
            return RoleSpec(
                role.role,
                tuple(command(context) if command else fixed_command),
                environment(context) if environment else fixed_environment,
                role.ready,
                role.stop_grace,
                role.replicas,
                role.connections,
            )

        if command is None and environment is None:
            same = spec({})
            return lambda context: same
        return spec

    def _database(self, name: str, environment: str) -> Make:
        """Its password is named as a secret of the unit, so that a copy is sealed beside restore points."""
        declared = self._declared(name)
        settings = merge(self.shared.driver(declared.driver, environment), declared.settings)
        self._refuse_values(settings)
        target = self._target(declared.driver, settings)
        steps = self.shared.steps(declared)[0]
        script = declared.journey_of(self.service.name)
        journey = digest_bytes(script) if script else ""

        def make(context: Context) -> DatabaseTarget:
            resource = declared.instance(context["environment"], context["site"])
            return DatabaseTarget(
                resource, target(context), steps, declared.users, declared.keep, declared.called, journey
            )

        return make

    def _declared(self, name: str) -> model.DatabaseDeclared:
        index = self.service.databases.index(name)
        line = self.service.document.line(("databases", index))
        return self.shared.database(name, self.service.file, line)

    def _refuse_values(self, settings: dict[str, Any]) -> None:
        """A database belongs to several services, so where it is can't depend on one's values."""
        for leaf in leaves(settings):
            text = self.shared.renderer.template(leaf.text, leaf.file, leaf.line)
            if text.keys or text.whole or "service" in text.names:
                raise invalid(
                    leaf.file,
                    leaf.line,
                    N_("the settings of a database can't use 'values' or 'service'"),
                    N_("Use environment, site, estate, platform or region: services share the database."),
                )

    def _secrets(self) -> Make:
        passwords = [p for name in self.service.databases for p in self._declared(name).passwords]
        declared = [*self.service.secrets, *passwords]
        parts = [(s.name, {"env": s.env, "file": s.file}) for s in declared]
        made = [(name, where, self.shared.renderer.settings(where)) for name, where in parts]

        def references(context: Context) -> tuple[SecretReference, ...]:
            return tuple(
                SecretReference(name, **(make(context) if make else where)) for name, where, make in made
            )

        return references

    def _signal(self, criterion: model.CriterionDeclared, environment: str) -> Make:
        signal = self.service.signals.get(criterion.signal)
        if signal is None:
            line = self.service.document.line(("criteria", criterion.name, "signal"))
            what, known = N_("there is no signal '{word}'"), self.service.signals
            raise Invalid(unknown(self.service.file, line, what, criterion.signal, known))
        own = signal.settings
        traffic = self.service.traffic
        if not signal.database and not (traffic and traffic.driver == signal.driver):
            own = merge(self.shared.driver(signal.driver, environment), own)
        make = self.shared.renderer.settings(own)
        return lambda context: make(context) if make else own

    def _criterion(
        self,
        criterion: model.CriterionDeclared,
        make: Make,
        context: Context,
        traffic: Target | None,
        databases: Mapping[str, DatabaseTarget],
    ) -> Criterion:
        declared = self.service.signals[criterion.signal]
        settings = dict(make(context))
        if declared.database:
            used = databases.get(declared.database)
            if used is None:
                line = self.service.document.line(("signals", declared.name, "database"))
                what = N_("the signal asks the database '{word}', which the service does not use")
                raise Invalid(unknown(self.service.file, line, what, declared.database, databases))
            settings |= {"database": declared.database, "resource": used.resource}
        elif traffic is not None:
            settings["target"] = traffic.settings
        signal = Signal(declared.name, declared.kind, declared.driver, settings)
        return Criterion(criterion.name, signal, criterion.limit, criterion.window, criterion.least_sample)


def _contents(parts: list[dict[str, bytes]]) -> Mapping[str, bytes]:
    """One mapping over parts that many units share, without copying them."""
    return parts[0] if len(parts) == 1 else ChainMap(*parts)
