"""Databases whose rehearsals can't tell whether old code writes as before."""

from __future__ import annotations

from collections.abc import Iterator

from lastgood.domain.message import N_
from lastgood.estate import model
from lastgood.estate.databases import JOURNEYS
from lastgood.estate.problems import WARNING, problem, unknown
from lastgood.ports.estate import Problem

RUN_BY = frozenset({"mariadb", "postgresql", "sqlite"})
"""Drivers that run journeys; with others a missing one costs nothing."""


def journey(database: model.DatabaseDeclared) -> Iterator[Problem]:
    """What a missing journey costs shows late, in a change that is in a hurry."""
    for service in database.journeys:
        if service not in database.users:
            file = f"databases/{database.name}/{JOURNEYS}/{service}.sql"
            what = N_("the journey is that of '{word}', which is no user of the database")
            yield unknown(file, 0, what, service, database.users)
    covered = database.journey or all(database.journey_of(user) for user in database.users)
    if database.driver in RUN_BY and database.migrations and not covered:
        above = () if database.file.startswith("databases/") else ("databases", database.name)
        yield problem(
            database.file,
            database.document.line(above) if above else 1,
            N_(
                "the database '{database}' has migrations and no journey.sql: only one that purely adds "
                "counts as safe for old code, any other closes the shop while it is deployed or taken back"
            ),
            N_("Add databases/{database}/journey.sql, which writes as the code does: an order, a payment."),
            severity=WARNING,
            database=database.name,
        )
