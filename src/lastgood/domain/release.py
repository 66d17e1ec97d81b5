"""The immutable content of a unit, named by the digest of all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from lastgood.domain.criterion import Criterion
from lastgood.domain.digest import LATER, digest
from lastgood.domain.image import Image
from lastgood.domain.unit import Role, Target, UnitId


@dataclass(frozen=True)
class FileEntry:
    """One file of rendered configuration or of an artifact; ``path`` is relative and normalised."""

    path: str
    content: str
    """``sha256:…`` of the bytes, which the object store keeps."""
    mode: int = 0o644


@dataclass(frozen=True)
class Artifact:
    """A directory of files; ``digest`` names its manifest (path, mode and content of each file)."""

    digest: str
    files: tuple[FileEntry, ...] = ()

    @classmethod
    def of(cls, files: tuple[FileEntry, ...]) -> Artifact:
        ordered = tuple(sorted(files, key=lambda f: f.path))
        return cls(digest(ordered), ordered)


@dataclass(frozen=True)
class SecretVersion:
    """A secret by name and version (a keyed digest of its value); never the value itself."""

    name: str
    version: str


@dataclass(frozen=True)
class SecretReference:
    """Where a secret's value is read when a change is accepted: exactly one of ``env`` and ``file``."""

    name: str
    env: str = ""
    file: str = ""


@dataclass(frozen=True)
class Migration:
    """One schema change as a triple of scripts (``sha256:…`` of each, kept in the object store).

    ``contracts``: it takes away what older code needs, as its author says; no code from before may be left.
    """

    name: str
    deploy: str
    verify: str
    revert: str
    contracts: bool = field(default=False, metadata=LATER, kw_only=True)

    @property
    def digest(self) -> str:
        return digest((self.name, self.deploy, self.verify, self.revert))


@dataclass(frozen=True)
class DatabaseTarget:
    """A database resource as this unit sees it: where it is, and the migrations it must have had.

    ``resource`` is the instance (``shop@prod/us``, or ``shop@prod`` when sites share it); ``users``
    are the services declared to use it. The revision is the ordered list of migrations itself.
    ``keep`` are the tables that a restore brings up to date, empty for all; ``called`` is what people call
    what is in a table, by language. ``journey`` is the script that writes rows as this release's code does
    (``sha256:…``, kept in the object store), empty where none is declared. ``held`` are migrations that its
    commit has and that wait: this code does with and without them.
    """

    resource: str
    target: Target
    migrations: tuple[Migration, ...] = ()
    users: tuple[str, ...] = ()
    keep: tuple[str, ...] = field(default=(), metadata=LATER)
    called: Mapping[str, Mapping[str, str]] = field(default_factory=dict, metadata=LATER)
    journey: str = field(default="", metadata=LATER)
    held: tuple[str, ...] = field(default=(), metadata=LATER)

    @property
    def contracting(self) -> frozenset[str]:
        """Migrations of which it is known that older code can't do with them."""
        return frozenset((*self.held, *(m.name for m in self.migrations if m.contracts)))

    def bears(self, migration: str) -> bool:
        """Whether this code was made with the migration in mind."""
        return migration in self.held or any(m.name == migration for m in self.migrations)

    @property
    def revision(self) -> str:
        return self.migrations[-1].name if self.migrations else ""


@dataclass(frozen=True)
class Readiness:
    """``web`` is ready when GET ``path`` answers 2xx within ``timeout`` seconds of its start."""

    path: str = "/healthz"
    timeout: float = 30.0


@dataclass(frozen=True)
class RoleSpec:
    """How one role of a service runs.

    ``command`` may contain ``{artifact}`` and ``{config}`` (directories) and ``{port}``; empty: what the
    image says. ``stop_grace`` seconds lie between SIGTERM and SIGKILL. ``replicas`` instances of it run;
    ``connections`` is how many database connections one of them opens at most, 0 where that is not known.
    """

    role: Role
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Readiness | None = None
    stop_grace: float = 5.0
    replicas: int = field(default=1, metadata=LATER)
    connections: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class CanaryStep:
    """``percent`` of the requests go to the new generation and are watched for ``seconds``."""

    percent: float
    seconds: float


@dataclass(frozen=True)
class Keep:
    """``restore_points`` are kept with all they need; older ones are pruned, 0 prunes nothing.

    ``image``: ``archive`` keeps the newest verified image as files of our own beside the engine's cache;
    ``engine`` trusts the engine alone. ``bundles`` is a directory in which a restore bundle of the newest
    restore point lies ready, empty: none is written.
    """

    restore_points: int = 0
    image: str = "archive"
    bundles: str = field(default="", metadata=LATER)


@dataclass(frozen=True)
class Windows:
    """Seconds: ``watch`` after the traffic moved, ``guard`` after that, ``verify`` after a rollback.

    ``recovery`` is the declared recovery-time target (R17). ``drain`` is how long requests and sessions that
    are open at the old generation may go on after the watch; then they are ended.
    """

    watch: float = 10.0
    guard: float = 600.0
    verify: float = 10.0
    recovery: float = 300.0
    drain: float = field(default=30.0, metadata=LATER)


@dataclass(frozen=True)
class Release:
    """The whole content of a unit, with what is needed to be there again without the estate.

    ``commit`` is provenance and not content: the same content from two commits is one release.
    ``origin`` is ``estate`` or ``baseline`` (observed before the first change); a baseline's
    ``upstream`` is the first address its traffic went to, empty when nothing served. ``registry`` is the
    driver that knows where ``image`` comes from. ``canary`` steps come before all traffic is shifted.
    """

    unit: UnitId
    commit: str
    files: tuple[FileEntry, ...] = ()
    artifact: Artifact | None = None
    secrets: tuple[SecretVersion, ...] = ()
    databases: tuple[DatabaseTarget, ...] = ()
    roles: tuple[RoleSpec, ...] = ()
    files_target: Target | None = None
    runtime: Target | None = None
    traffic: Target | None = None
    criteria: tuple[Criterion, ...] = ()
    windows: Windows = field(default_factory=Windows)
    origin: str = "estate"
    upstream: str = ""
    image: Image | None = field(default=None, metadata=LATER)
    registry: Target | None = field(default=None, metadata=LATER)
    canary: tuple[CanaryStep, ...] = field(default=(), metadata=LATER)
    keep: Keep = field(default_factory=Keep, metadata=LATER)
    more_upstreams: tuple[str, ...] = field(default=(), metadata=LATER)

    @cached_property
    def digest(self) -> str:
        """``sha256:…`` of everything but commit and tag; an artifact is named by its own digest."""
        artifact = Artifact(self.artifact.digest) if self.artifact else None
        image = replace(self.image, tag="") if self.image else None
        return digest(replace(self, commit="", artifact=artifact, image=image))

    @property
    def upstreams(self) -> tuple[str, ...]:
        """All addresses that a baseline's traffic went to."""
        return (self.upstream, *self.more_upstreams) if self.upstream else ()

    def has_role(self, role: Role) -> bool:
        return any(spec.role is role for spec in self.roles)

    def database(self, resource: str) -> DatabaseTarget | None:
        return next((d for d in self.databases if d.resource == resource), None)
