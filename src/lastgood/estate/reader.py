"""An estate in a Git repository, behind the ports of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import Environment, Site, UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.estate import databases, loader, model
from lastgood.estate.git import Git
from lastgood.estate.layers import Layer, merge, provenance
from lastgood.estate.lint import lint
from lastgood.estate.lint_migrations import reviewed
from lastgood.estate.problems import Invalid, raise_first, unknown
from lastgood.estate.render import Context, Renderer
from lastgood.estate.tree import ROOT, Tree, read_commit, read_worktree
from lastgood.estate.units import ServiceUnits, Shared
from lastgood.ports.estate import Problem, Provenance, Rendered
from lastgood.ports.reviewing import Reviewed, Reviewers
from lastgood.ports.rewinding import OwnState

WORKTREE = "worktree"


class GitEstate:
    """One commit (or the working tree), in memory. Services are parsed when they are first asked for."""

    def __init__(self, commit: str, tree: Tree, parser: loader.Parser, own: OwnState | None = None) -> None:
        self.commit = commit
        self.own = own
        self.tree = tree
        self.parser = parser
        findings: list[Problem] = []
        declared = loader.load_estate(parser, tree, findings)
        raise_first(findings)
        assert declared is not None
        self.declared: model.EstateDeclared = declared
        self._sites = {site.name: site for site in declared.sites}
        self._environments = {e.name: e for e in declared.environments}
        self._services: dict[str, ServiceUnits] = {}
        self._databases: dict[str, model.DatabaseDeclared] = {}
        self._layers: dict[str, Layer | None] = {}
        self._merged: dict[tuple[str, ...], dict[str, object]] = {}
        sources = {
            path: file.content.decode("utf-8", "replace")
            for path, file in tree.files.items()
            if path.startswith("services/") and path.split("/")[2] == "templates"
        }
        self.shared = Shared(commit, tree, declared, Renderer(sources), self.database)

    @property
    def environments(self) -> Sequence[Environment]:
        return self.declared.environments

    @property
    def sites(self) -> Sequence[Site]:
        return self.declared.sites

    def service_names(self) -> Sequence[str]:
        return self.tree.names("services")

    def service(self, name: str) -> ServiceUnits:
        """Raises InvalidInput when it does not exist or its file is wrong."""
        if name not in self._services:
            if name not in self.service_names():
                raise Invalid(
                    unknown("services", 0, N_("there is no service '{word}'"), name, self.service_names())
                )
            findings: list[Problem] = []
            declared = loader.load_service(self.parser, self.tree, name, findings)
            raise_first(findings)
            assert declared is not None
            self._services[name] = ServiceUnits(declared, self.shared)
        return self._services[name]

    def database(self, name: str, file: str, line: int) -> model.DatabaseDeclared:
        """Raises InvalidInput when it does not exist (at ``file`` and ``line``) or its files are wrong."""
        if name not in self._databases:
            known = databases.database_names(self.tree, self.declared)
            if name not in known:
                raise Invalid(unknown(file, line, N_("there is no database '{word}'"), name, known))
            findings: list[Problem] = []
            declared = databases.load_database(self.parser, self.tree, self.declared, name, findings)
            raise_first(findings)
            assert declared is not None
            self._databases[name] = declared
        return self._databases[name]

    def units(self) -> Sequence[UnitId]:
        """By service, environment (in order of promotion) and site. Raises InvalidInput."""
        return [unit for name in self.service_names() for unit in self.units_of(self.service(name).service)]

    def units_of(self, service: model.ServiceDeclared) -> list[UnitId]:
        return [
            UnitId(service.name, environment.name, site.name)
            for environment in self.declared.environments
            if not service.environments or environment.name in service.environments
            for site in self.declared.sites
            if (not service.sites or site.name in service.sites)
            and (not site.environments or environment.name in site.environments)
        ]

    def waves(self, environment: str) -> WavePolicy:
        """Raises InvalidInput when there is no such environment."""
        if environment not in self.declared.waves:
            what, known = N_("there is no environment '{word}'"), self.declared.waves
            raise Invalid(unknown(ROOT, 0, what, environment, known))
        return self.declared.waves[environment]

    def needs(self) -> Mapping[str, Sequence[str]]:
        """Raises InvalidInput when a service's file is wrong."""
        return {name: self.service(name).service.needs for name in self.service_names()}

    def render(self, unit: UnitId) -> Rendered:
        """Raises InvalidInput naming file, line and mend."""
        service = self._checked(unit)
        return service.render(unit, self.context(service, unit))

    def context(self, service: ServiceUnits, unit: UnitId) -> Context:
        """What the templates of a unit see."""
        return service.context(unit, self._sites[unit.site], self.values(unit))

    def explain(self, unit: UnitId, key: str) -> Provenance:
        """Raises InvalidInput when no layer sets the key (near names are offered)."""
        self._checked(unit)
        return provenance(self.layers(unit), key)

    def lint(self) -> Sequence[Problem]:
        """Every mistake in one pass."""
        return lint(self)

    def review(self, reviewers: Reviewers) -> Sequence[Reviewed]:
        """Every migration, as its driver sees it."""
        return list(reviewed(self, reviewers))

    def layers(self, unit: UnitId) -> list[Layer]:
        """The layers of a unit that exist, lowest first. Raises Invalid."""
        found = []
        for name, file in loader.layer_files(unit.service, unit.environment, unit.site):
            if file not in self._layers:
                self._layers[file] = loader.load_layer(self.parser, self.tree, name, file)
            layer = self._layers[file]
            if layer is not None:
                found.append(layer)
        return found

    def values(self, unit: UnitId) -> dict[str, object]:
        """The merged values of a unit; stacks of layers that units share are merged once."""
        values: dict[str, object] = {}
        stack: tuple[str, ...] = ()
        for layer in self.layers(unit):
            stack = (*stack, layer.file)
            found = self._merged.get(stack)
            if found is None:
                found = self._merged[stack] = merge(values, layer.values)
            values = found
        return values

    def _checked(self, unit: UnitId) -> ServiceUnits:
        """The service of a unit that exists. Raises Invalid."""
        service = self.service(unit.service)
        declared = service.service
        if unit.environment not in self._environments:
            raise Invalid(
                unknown(ROOT, 0, N_("there is no environment '{word}'"), unit.environment, self._environments)
            )
        if unit.site not in self._sites:
            raise Invalid(unknown(ROOT, 0, N_("there is no site '{word}'"), unit.site, self._sites))
        allowed = self._sites[unit.site].environments
        if (
            (allowed and unit.environment not in allowed)
            or (declared.sites and unit.site not in declared.sites)
            or (declared.environments and unit.environment not in declared.environments)
        ):
            known = [str(u) for u in self.units_of(declared)]
            raise Invalid(unknown(declared.file, 0, N_("there is no unit '{word}'"), str(unit), known))
        return service


class GitEstateReader:
    """Opens the estate in a directory of a Git repository, which may be bare or detached."""

    def __init__(self, path: Path, own: OwnState | None = None) -> None:
        """Nothing is read yet. ``path`` holds lastgood.yaml, or is a bare repository."""
        self._own = own
        self.path = path
        self.git = Git(path)
        self._parser = loader.Parser()
        self._last: GitEstate | None = None
        self._ancestors: dict[tuple[str, str], bool] = {}

    def at(self, commit: str) -> GitEstate:
        """Load a commit (any revision Git understands). Raises InvalidInput when it does not exist."""
        name = self.git.resolve(commit)
        if self._last is None or self._last.commit != name:
            self._last = GitEstate(name, read_commit(self.git, name), self._parser, self._own)
        return self._last

    def worktree(self) -> GitEstate:
        """Load the files as they lie there; raises InvalidInput in a bare repository."""
        self.git.require_repository()
        if self.git.is_bare():
            raise InvalidInput(
                N_("a bare repository has no working tree"),
                todo=N_("Name a commit, for example HEAD."),
                where=str(self.path),
            )
        return GitEstate(WORKTREE, read_worktree(self.git), self._parser, self._own)

    def dirty(self) -> Sequence[str]:
        """Paths with uncommitted changes, relative to the estate; none in a bare repository."""
        self.git.require_repository()
        if self.git.is_bare():
            return ()
        prefix = self.git.prefix()
        records = self.git.out(
            "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", "."
        ).split(b"\0")
        names = [r[3:].decode("utf-8", "replace") for r in records if len(r) > 3]
        return tuple(sorted(n.removeprefix(prefix) for n in names))

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether ``newer`` contains ``older``. Raises InvalidInput when one does not exist."""
        key = (older, newer)
        if key not in self._ancestors:
            names = (self.git.resolve(older), self.git.resolve(newer))
            found = self.git.run("merge-base", "--is-ancestor", *names).returncode == 0
            if names != key:
                return found  # a branch may stand somewhere else when it is asked for again
            self._ancestors[key] = found
        return self._ancestors[key]
