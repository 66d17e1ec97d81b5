"""Migrations as their drivers see them: the class of each, and statements that hurt while they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lastgood.domain.digest import digest_bytes
from lastgood.domain.message import N_
from lastgood.domain.release import Migration
from lastgood.estate import databases, model
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import WARNING, problem
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.estate import Problem
from lastgood.ports.reviewing import Reviewed, Reviewers


def reviewed(estate: OpenEstate, reviewers: Reviewers) -> Iterator[Reviewed]:
    """Source of ``Estate.review``. Databases and scripts that can't be read are for ``lint``."""
    for name in databases.database_names(estate.tree, estate.declared):
        declared = databases.load_database(estate.parser, estate.tree, estate.declared, name, [])
        if declared is not None and declared.migrations:
            yield from _database(declared, reviewers)


def _database(declared: model.DatabaseDeclared, reviewers: Reviewers) -> Iterator[Reviewed]:
    scripts = [_script(m) for m in declared.migrations]
    reviewer = reviewers.of(declared.driver)
    reviews = reviewer.review(scripts) if reviewer is not None else [None] * len(scripts)
    for script, review in zip(scripts, reviews, strict=True):
        path = f"databases/{declared.name}/migrations/{script.name}/deploy.sql"
        yield Reviewed(declared.name, declared.driver, script.name, script.digest, path, review)


def _script(declared: model.MigrationDeclared) -> MigrationScript:
    texts = (declared.deploy, declared.verify, declared.revert)
    identity = Migration(declared.name, *(digest_bytes(text) for text in texts))
    return MigrationScript(declared.name, identity.digest, *(text.decode() for text in texts))


def findings(found: Iterable[Reviewed]) -> Sequence[Problem]:
    """A warning for each statement that hurts, and one for each database that nobody reviewed."""
    problems: list[Problem] = []
    alone: set[str] = set()
    for one in found:
        if one.review is None:
            if one.database not in alone:
                alone.add(one.database)
                problems.append(_unreviewed(one))
            continue
        folder = one.path.removesuffix("deploy.sql")
        problems += (
            Problem(f"{folder}{f.script}.sql", f.line, f.what, f.advice, WARNING, f)
            for f in one.review.findings
        )
    return problems


def _unreviewed(one: Reviewed) -> Problem:
    return problem(
        f"databases/{one.database}/",
        0,
        N_("the migrations of {database} were not reviewed: the driver {driver} is not installed, or can't"),
        N_("Install it here as well, or look at their locks yourself."),
        severity=WARNING,
        database=one.database,
        driver=one.driver,
    )
