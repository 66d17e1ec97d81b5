"""Logins of registries: their passwords are references, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lastgood.domain.message import N_
from lastgood.estate import model
from lastgood.estate.lint_service import reference
from lastgood.estate.problems import problem
from lastgood.estate.registries import is_reference, secret_name
from lastgood.estate.tree import ROOT
from lastgood.estate.yamlfile import Document, Path
from lastgood.ports.estate import Problem


def logins(estate: model.EstateDeclared, services: Mapping[str, model.ServiceDeclared]) -> Iterator[Problem]:
    """Findings on every login of a registry, whether it is used or not."""
    names = {"registry", *(s.registry.driver for s in services.values() if s.registry)}
    data = estate.document.data
    tables: list[tuple[Any, Path]] = [(data.get("drivers"), ("drivers",))]
    for position, entry in enumerate(data["environments"]):
        tables.append((entry.get("drivers"), ("environments", position, "drivers")))
    for table, above in tables:
        for name in sorted(names & set(table or {})):
            yield from _logins(table[name], estate.document, ROOT, (*above, name))
    for service in services.values():
        yield from _logins(
            service.document.data.get("registry"), service.document, service.file, ("registry",)
        )


def _logins(settings: Any, document: Document, file: str, above: Path) -> Iterator[Problem]:
    hosts = settings.get("hosts") if isinstance(settings, Mapping) else None
    if hosts is None:
        return
    if not isinstance(hosts, Mapping) or not all(isinstance(login, Mapping) for login in hosts.values()):
        yield problem(
            file,
            document.line((*above, "hosts")),
            N_("the logins of registries must be a mapping"),
            N_("Write the registry, and below it username and password: {reference}."),
            reference="{env: …}",
        )
        return
    for host, login in hosts.items():
        password = login.get("password")
        where: Path = (*above, "hosts", host, "password")
        if is_reference(password):
            yield from reference(model.SecretDeclared(secret_name(host), **password), file, document, where)
        elif password is not None:
            yield problem(
                file,
                document.line(where),
                N_("the password of the registry '{host}' is not a reference"),
                N_(
                    "Name where it is read: password: {reference}. If it stood here, change it: Git keeps it."
                ),
                host=host,
                reference="{env: …}",
            )
