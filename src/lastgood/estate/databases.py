"""Databases and their migrations, from files to declarations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lastgood.domain.message import N_
from lastgood.domain.unit import NAME
from lastgood.estate import model, yamlfile
from lastgood.estate.loader import Parser, bad_folder, declared
from lastgood.estate.problems import problem
from lastgood.estate.render import prepare
from lastgood.estate.schema import check
from lastgood.estate.tree import ROOT, Tree
from lastgood.estate.yamlfile import Document
from lastgood.ports.estate import Problem

SCRIPTS = ("deploy", "verify", "revert")
BESIDES = ("poolers", "replicas")
JOURNEY = "journey.sql"
JOURNEYS = "journeys"
"""The folder of those of single services, each by its name."""
_MIGRATION = re.compile(r"[0-9]{4,}_[a-z0-9][a-z0-9_-]{0,120}")
_UNDOES = re.compile(rb"^\s*--\s*lastgood:\s*undo\s+rows\s*$", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(rb"--[^\n]*|/\*.*?\*/", re.DOTALL)


def database_names(tree: Tree, estate: model.EstateDeclared) -> list[str]:
    """Databases by folder, then those listed in ``lastgood.yaml`` only."""
    listed = estate.document.data.get("databases") or {}
    return list(dict.fromkeys([*tree.names("databases"), *listed]))


def load_database(
    parser: Parser, tree: Tree, estate: model.EstateDeclared, name: str, findings: list[Problem]
) -> model.DatabaseDeclared | None:
    """``databases/<name>/database.yaml``, or the entry in ``lastgood.yaml``; None when it can't be used."""
    folder = f"databases/{name}/"
    findings.extend(tree.problems_below(folder))
    if not NAME.fullmatch(name):
        findings.append(bad_folder(folder, name))
        return None
    found = _find(parser, tree, estate, name, findings)
    if found is None:
        return None
    file, document, above = found
    data: Any = document.data
    for part in above:
        data = data[part]
    settings = prepare(data.get("settings", {}), document, file, (*above, "settings"))
    settings["url"] = prepare(data["url"], document, file, (*above, "url"))
    password = None
    if "password" in data:
        secret = f"DATABASE_{name.upper().replace('-', '_')}_PASSWORD"
        settings["password"] = {"secret": secret}
        reference = prepare(data["password"], document, file, (*above, "password"))
        password = model.SecretDeclared(secret, **reference)
    besides = _besides(name, data, document, file, above, settings)
    return model.DatabaseDeclared(
        name=name,
        file=file,
        document=document,
        driver=data["driver"],
        scope=data.get("scope", "site"),
        settings=settings,
        password=password,
        owner=data.get("owner", ""),
        users=tuple(data["users"]),
        keep=tuple(data.get("keep", ())),
        called={
            table: {"en": word} if isinstance(word, str) else dict(word)
            for table, word in data.get("called", {}).items()
        },
        migrations=load_migrations(tree, name, findings),
        journey=load_journey(tree, f"databases/{name}/{JOURNEY}", name, findings),
        journeys=load_journeys(tree, name, findings),
        besides=besides,
    )


def _besides(
    name: str,
    data: Mapping[str, Any],
    document: Document,
    file: str,
    above: yamlfile.Path,
    settings: dict[str, Any],
) -> tuple[model.SecretDeclared, ...]:
    """Poolers and replicas put into ``settings``, each with its password named as a secret."""
    found = []
    for kind in BESIDES:
        for index, one in enumerate(data.get(kind, ())):
            part = dict(prepare(one, document, file, (*above, kind, index)))
            if reference := part.pop("password", None):
                secret = f"DATABASE_{name.upper().replace('-', '_')}_{kind.upper()}_{index + 1}_PASSWORD"
                found.append(model.SecretDeclared(secret, **reference))
                part["password"] = {"secret": secret}
            settings.setdefault(kind, []).append(part)
    return tuple(found)


def _find(
    parser: Parser, tree: Tree, estate: model.EstateDeclared, name: str, findings: list[Problem]
) -> tuple[str, Document, yamlfile.Path] | None:
    """(file, document, where in it) of a database's declaration that obeys its schema."""
    file = f"databases/{name}/database.yaml"
    listed = estate.document.data.get("databases") or {}
    if file in tree.files:
        if name in listed:
            line = estate.document.line(("databases", name))
            what = N_("the database '{name}' is declared here and in {file}")
            findings.append(problem(ROOT, line, what, N_("Remove one of the two."), name=name, file=file))
        document = declared(parser, tree, file, "database", findings)
        return None if document is None else (file, document, ())
    if name in listed:
        above = ("databases", name)
        broken = check("database", estate.document, ROOT, above)
        findings.extend(broken)
        return None if broken else (ROOT, estate.document, above)
    what, mend = (
        N_("the database '{name}' has no database.yaml"),
        N_("Add {file}, or list the database in lastgood.yaml."),
    )
    findings.append(problem(f"databases/{name}/", 0, what, mend, name=name, file=file))
    return None


def load_migrations(
    tree: Tree, database: str, findings: list[Problem]
) -> tuple[model.MigrationDeclared, ...]:
    """The triples of a database by name; what is incomplete goes to ``findings``."""
    folder = f"databases/{database}/migrations/"
    found: dict[str, dict[str, bytes]] = {}
    for path in tree.paths("databases", database):
        if not path.startswith(folder):
            continue
        name, _, script = path.removeprefix(folder).partition("/")
        stem = script.removesuffix(".sql")
        if not script:
            continue
        if stem in SCRIPTS and script.endswith(".sql"):
            found.setdefault(name, {})[stem] = tree.files[path].content
        else:
            found.setdefault(name, {})
    _in_order(folder, sorted(found), findings)
    return tuple(
        model.MigrationDeclared(name, **{s: found[name][s] for s in SCRIPTS})
        for name in sorted(found)
        if _complete(folder, name, found[name], findings)
    )


def load_journeys(tree: Tree, database: str, findings: list[Problem]) -> dict[str, bytes]:
    """Those of single services that share the database and write otherwise, by service."""
    folder = f"databases/{database}/{JOURNEYS}/"
    files = [p for p in tree.paths("databases", database) if p.startswith(folder) and p.endswith(".sql")]
    found = {f: load_journey(tree, f, database, findings) for f in files}
    return {
        file.removeprefix(folder).removesuffix(".sql"): journey for file, journey in found.items() if journey
    }


def load_journey(tree: Tree, file: str, database: str, findings: list[Problem]) -> bytes:
    """One that writes rows as the code does; empty without one."""
    if file not in tree.files:
        return b""
    content = tree.files[file].content
    if not _is_text(content):
        findings.append(problem(file, 1, N_("the file is not UTF-8"), N_("Save it as UTF-8.")))
    elif not _says_something(content):
        findings.append(
            problem(
                file,
                1,
                N_("{file} of the database '{database}' is empty"),
                N_("Write the rows that the code writes, an order, a payment; or remove the file."),
                file=file.removeprefix(f"databases/{database}/"),
                database=database,
            )
        )
    else:
        return content
    return b""


def _in_order(folder: str, names: list[str], findings: list[Problem]) -> None:
    """Migrations run in the order of their names, so the numbers must agree with that order."""
    numbered = [(int(name.partition("_")[0]), name) for name in names if _MIGRATION.fullmatch(name)]
    for (number, name), (following, next_name) in pairwise(numbered):
        if following <= number:
            findings.append(
                problem(
                    f"{folder}{next_name}",
                    0,
                    N_("the migrations '{name}' and '{next}' are out of order"),
                    N_("Give each a number of its own, all with the same count of digits."),
                    name=name,
                    next=next_name,
                )
            )


def _complete(folder: str, name: str, scripts: dict[str, bytes], findings: list[Problem]) -> bool:
    before = len(findings)
    if not _MIGRATION.fullmatch(name):
        findings.append(
            problem(
                f"{folder}{name}",
                0,
                N_("'{name}' is not the name of a migration"),
                N_("Name it with a number of at least four digits and words: 0001_create_orders."),
                name=name,
            )
        )
    for script in SCRIPTS:
        file = f"{folder}{name}/{script}.sql"
        if script not in scripts:
            findings.append(
                problem(
                    file,
                    0,
                    N_("the migration '{name}' has no {script}.sql"),
                    N_("A migration is a triple: deploy.sql, verify.sql, revert.sql. Add what is missing."),
                    name=name,
                    script=script,
                )
            )
        elif _empty(script, scripts[script]):
            findings.append(
                problem(
                    file,
                    1,
                    N_("{script}.sql of the migration '{name}' is empty"),
                    N_("Write the statements. Without a revert that was tried there is no way back."),
                    name=name,
                    script=script,
                )
            )
        elif not _is_text(scripts[script]):
            findings.append(problem(file, 1, N_("the file is not UTF-8"), N_("Save it as UTF-8.")))
    return len(findings) == before


def _says_something(script: bytes) -> bool:
    return bool(_COMMENT.sub(b"", script).strip(b" \t\r\n;"))


def _empty(script: str, content: bytes) -> bool:
    """A revert may ask for nothing but that rows are undone, in a comment."""
    if script == "revert" and _UNDOES.search(content):
        return False
    return not _says_something(content)


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
