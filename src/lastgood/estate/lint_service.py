"""What a service or a database declares, held against the rest of the estate."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lastgood.domain.criterion import SignalKind
from lastgood.domain.message import N_
from lastgood.domain.unit import Role
from lastgood.estate import model
from lastgood.estate.databases import BESIDES
from lastgood.estate.loader import RUNS_ONE
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import WARNING, problem, unknown
from lastgood.estate.render import Templated
from lastgood.estate.yamlfile import Document, Path
from lastgood.ports.estate import Problem

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITH_PASSWORD = re.compile(r"://[^/@\s:]*:[^/@\s]+@")

Databases = Mapping[str, model.DatabaseDeclared]


def service(estate: OpenEstate, service: model.ServiceDeclared, databases: Databases) -> Iterator[Problem]:
    """Findings on one service."""
    yield from _scope(estate, service)
    yield from _roles(service)
    yield from _canary(service)
    yield from _uses(estate, service, databases)
    yield from _signals(service, databases)
    yield from _criteria(estate, service)
    for secret in service.secrets:
        yield from reference(secret, service.file, service.document, ("secrets", secret.name))


def _line(service: model.ServiceDeclared, *path: str | int) -> int:
    return service.document.line(path)


def _scope(estate: OpenEstate, service: model.ServiceDeclared) -> Iterator[Problem]:
    sites = [site.name for site in estate.declared.sites]
    environments = [environment.name for environment in estate.declared.environments]
    for index, word in enumerate(service.sites):
        if word not in sites:
            yield unknown(
                service.file, _line(service, "sites", index), N_("there is no site '{word}'"), word, sites
            )
    for index, word in enumerate(service.environments):
        if word not in environments:
            line = _line(service, "environments", index)
            yield unknown(service.file, line, N_("there is no environment '{word}'"), word, environments)
    if not estate.units_of(service):
        yield problem(
            service.file,
            1,
            N_("the service runs nowhere: no environment and site is left for it"),
            N_("Widen 'sites' or 'environments' here, or those of the sites in lastgood.yaml."),
            severity=WARNING,
        )


def _roles(service: model.ServiceDeclared) -> Iterator[Problem]:
    kinds = [role.role for role in service.roles]
    if service.traffic is not None and Role.WEB not in kinds:
        yield problem(
            service.file,
            _line(service, "traffic"),
            N_("the service has traffic but no role 'web' to take it"),
            N_("Add roles.web, or remove 'traffic'."),
        )
    if kinds and not service.artifact and not service.image:
        yield problem(
            service.file,
            _line(service, "roles"),
            N_("the service has roles but no artifact to run"),
            N_("Add 'artifact' with its 'path', unless the commands need none."),
            severity=WARNING,
        )
    if service.artifact and service.image:
        yield problem(
            service.file,
            _line(service, "image"),
            N_("the service has both an artifact and an image: only one can be what runs"),
            N_("Remove one of them."),
        )
    for role in service.roles:
        if not role.command and not service.image:
            yield problem(
                service.file,
                _line(service, "roles", role.role.value),
                N_("the role '{role}' has no command"),
                N_("Add 'command': the program and its arguments. Only an image can say it instead."),
                role=role.role.value,
            )
        if role.replicas > 1 and service.runtime is not None and service.runtime.driver in RUNS_ONE:
            yield problem(
                service.file,
                _line(service, "roles", role.role.value, "replicas"),
                N_("the driver '{driver}' runs one instance of a role, not {count}"),
                N_("Remove 'replicas', or run an image with the driver docker."),
                driver=service.runtime.driver,
                count=role.replicas,
            )
        if role.role is not Role.WEB and role.ready is not None:
            yield problem(
                service.file,
                _line(service, "roles", role.role.value, "ready"),
                N_("only the role 'web' is asked whether it is ready"),
                N_("Remove 'ready' here."),
                severity=WARNING,
            )


def _canary(service: model.ServiceDeclared) -> Iterator[Problem]:
    if service.canary and service.traffic is None:
        yield problem(
            service.file,
            _line(service, "canary"),
            N_("the service has canary steps but no traffic to share out"),
            N_("Add 'traffic', or remove 'canary'."),
        )
    if service.canary and not service.criteria:
        yield problem(
            service.file,
            _line(service, "canary"),
            N_("the service has canary steps but no criteria: nothing could be said of a share"),
            N_("Say under 'criteria' what good means, or remove 'canary'."),
        )
    percents = [step.percent for step in service.canary]
    for index, (before, after) in enumerate(itertools.pairwise(percents)):
        if after <= before:
            yield problem(
                service.file,
                _line(service, "canary", index + 1, "percent"),
                N_("each canary step takes a larger share than the one before"),
                N_("Sort them: for example 5, 25, 50. All requests come after the last by themselves."),
            )


def _uses(estate: OpenEstate, service: model.ServiceDeclared, databases: Databases) -> Iterator[Problem]:
    known = {*databases, *estate.tree.names("databases")}
    own = {secret.name for secret in service.secrets}
    for index, name in enumerate(service.databases):
        line = _line(service, "databases", index)
        if name not in known:
            yield unknown(service.file, line, N_("there is no database '{word}'"), name, known)
        elif name in databases and service.name not in databases[name].users:
            yield problem(
                service.file,
                line,
                N_("the service uses the database '{database}', which does not list it"),
                N_("Add '{service}' under 'users' in {file}: a restore has to stop all users."),
                database=name,
                service=service.name,
                file=databases[name].file,
            )
        if name in databases:
            password = databases[name].password
            if password is not None and password.name in own:
                yield problem(
                    service.file,
                    _line(service, "secrets", password.name),
                    N_("the secret '{name}' is already the password of the database '{database}'"),
                    N_("Remove it here; the service gets it anyway."),
                    name=password.name,
                    database=name,
                )
            for beside in databases[name].besides:
                if beside.name in own:
                    yield problem(
                        service.file,
                        _line(service, "secrets", beside.name),
                        N_("the secret '{name}' is that of a pooler or replica of the database '{database}'"),
                        N_("Give the secret of the service another name: services don't get that password."),
                        name=beside.name,
                        database=name,
                    )


def _signals(service: model.ServiceDeclared, databases: Databases) -> Iterator[Problem]:
    for name, signal in service.signals.items():
        if not signal.database:
            continue
        line = _line(service, "signals", name, "database")
        if signal.database not in service.databases:
            what = N_("the signal asks the database '{word}', which the service does not use")
            yield unknown(service.file, line, what, signal.database, service.databases)
        elif signal.database in databases and databases[signal.database].driver != signal.driver:
            yield problem(
                service.file,
                line,
                N_("the database '{database}' is served by '{right}', not by '{driver}'"),
                N_("Write driver: {right}."),
                database=signal.database,
                right=databases[signal.database].driver,
                driver=signal.driver,
            )


def _criteria(estate: OpenEstate, service: model.ServiceDeclared) -> Iterator[Problem]:
    used = set()
    for criterion in service.criteria:
        used.add(criterion.signal)
        signal = service.signals.get(criterion.signal)
        if signal is None:
            line = _line(service, "criteria", criterion.name, "signal")
            yield unknown(
                service.file, line, N_("there is no signal '{word}'"), criterion.signal, service.signals
            )
        elif signal.kind is SignalKind.RATIO and not 0 < criterion.limit <= 1:
            yield problem(
                service.file,
                _line(service, "criteria", criterion.name, "limit"),
                N_("the limit of a ratio is a share of good: more than 0, at most 1"),
                N_("Write 0.97 for 97 %."),
            )
    for name in service.signals:
        if name not in used:
            yield problem(
                service.file,
                _line(service, "signals", name),
                N_("no criterion uses the signal '{name}'"),
                N_("Add a criterion for it, or remove it."),
                severity=WARNING,
                name=name,
            )
    if service.criteria:
        return
    required = {e.name for e in estate.declared.environments if e.criteria_required}
    for environment in sorted(required & {u.environment for u in estate.units_of(service)}):
        yield problem(
            service.file,
            1,
            N_("the service has no criteria, but the environment '{environment}' requires them"),
            N_("Say under 'signals' and 'criteria' what good means for it."),
            environment=environment,
        )


def reference(secret: model.SecretDeclared, file: str, document: Document, path: Path) -> Iterator[Problem]:
    """A reference that can't be one; its text is not shown, it may be the secret itself."""
    if isinstance(secret.env, str) and secret.env and not _VARIABLE.fullmatch(secret.env):
        yield problem(
            file,
            document.line((*path, "env")),
            N_("the reference of the secret '{name}' is not a variable's name"),
            N_("Name an environment variable; the value itself never stands in an estate."),
            name=secret.name,
        )
    if isinstance(secret.file, str) and secret.file and not secret.file.startswith("/"):
        yield problem(
            file,
            document.line((*path, "file")),
            N_("the reference of the secret '{name}' is not an absolute path"),
            N_("Name a file outside Git by its absolute path; the value itself never stands in an estate."),
            name=secret.name,
        )


def database(
    estate: OpenEstate, database: model.DatabaseDeclared, services: Mapping[str, model.ServiceDeclared]
) -> Iterator[Problem]:
    """Findings on one database."""
    above: Path = () if database.file.startswith("databases/") else ("databases", database.name)
    document = database.document
    for index, user in enumerate(database.users):
        line = document.line((*above, "users", index))
        if user not in estate.service_names():
            yield unknown(
                database.file, line, N_("there is no service '{word}'"), user, estate.service_names()
            )
        elif user in services and database.name not in services[user].databases:
            yield problem(
                database.file,
                line,
                N_("the service '{service}' is listed as a user but does not use the database"),
                N_("Add '{database}' under 'databases' in its service.yaml, or remove it here."),
                severity=WARNING,
                service=user,
                database=database.name,
            )
    yield from _besides(database, above)
    if database.password is not None:
        yield from reference(database.password, database.file, document, (*above, "password"))


def _besides(database: model.DatabaseDeclared, above: Path) -> Iterator[Problem]:
    """Its url, and those of what is declared beside it, with their passwords."""
    passwords = {secret.name: secret for secret in database.besides}
    places: list[tuple[Path, Any]] = [((*above, "url"), database.settings["url"])]
    for kind in BESIDES:
        for index, one in enumerate(database.settings.get(kind, ())):
            places.append(((*above, kind, index, "url"), one["url"]))
            if "password" in one:
                where = (*above, kind, index, "password")
                secret = passwords[one["password"]["secret"]]
                yield from reference(secret, database.file, database.document, where)
    for path, url in places:
        if _WITH_PASSWORD.search(url.text if isinstance(url, Templated) else url):
            yield problem(
                database.file,
                database.document.line(path),
                N_("the url of the database holds a password"),
                N_("Take it out, and name a secret: password: {reference}. Then change it, Git remembers."),
                reference="{env: …}",
            )
