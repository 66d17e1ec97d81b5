"""What tests do to a clean estate, and how its problems are shown."""

from __future__ import annotations

from collections.abc import Callable

from lastgood.estate.problems import Invalid
from lastgood.ports.estate import Problem
from tests.estate.repositories import Repository

SERVICE = "services/web/service.yaml"
VALUES = "services/web/values.yaml"
DATABASE = "databases/shop/database.yaml"
MIGRATIONS = "databases/shop/migrations"

Change = Callable[[Repository], object]


def edit(path: str, old: str, new: str) -> Change:
    return lambda repository: repository.edit(path, old, new)


def write(path: str, content: str) -> Change:
    return lambda repository: repository.write({path: content})


def remove(path: str) -> Change:
    return lambda repository: (repository.root / path).unlink()


def as_text(problems: list[Problem]) -> str:
    return "\n".join(f"{p.severity} {p.path}:{p.line} {p.what} | {p.mend}" for p in problems)


def problems_of(repository: Repository) -> list[Problem]:
    """Lint, also when lastgood.yaml itself can't be used."""
    try:
        return repository.lint()
    except Invalid as wrong:
        return [wrong.finding]
