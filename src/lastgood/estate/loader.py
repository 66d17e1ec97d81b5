"""Files to declarations: ``lastgood.yaml``, services, databases and their layers of values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lastgood.domain.criterion import SignalKind
from lastgood.domain.message import N_
from lastgood.domain.release import Readiness, Windows
from lastgood.domain.unit import NAME, Environment, Role, Site
from lastgood.estate import model, yamlfile
from lastgood.estate.layers import Layer
from lastgood.estate.model import DriverUse, seconds
from lastgood.estate.problems import Invalid, invalid, problem, unknown
from lastgood.estate.render import prepare
from lastgood.estate.schema import check
from lastgood.estate.tree import ROOT, Tree
from lastgood.estate.yamlfile import Document
from lastgood.ports.estate import Problem

SCRIPTS = ("deploy", "verify", "revert")
_MIGRATION = re.compile(r"[0-9]{4,}_[a-z0-9][a-z0-9_-]{0,120}")
_COMMENT = re.compile(rb"--[^\n]*|/\*.*?\*/", re.DOTALL)


class Parser:
    """Reads YAML once per content: equal files (there are many among layers) share one document."""

    def __init__(self) -> None:
        self._documents: dict[bytes, Document] = {}

    def read(self, tree: Tree, file: str) -> Document:
        """A file whose top is a mapping (or empty). Raises Invalid."""
        content = tree.files[file].content
        found = self._documents.get(content)
        if found is None:
            found = yamlfile.load(content, file)
            if found.data is not None and not isinstance(found.data, dict):
                raise invalid(
                    file, found.line(()), N_("the file must be a mapping of keys to values"),
                    N_("Begin it with 'key: value'."),
                )  # fmt: skip
            self._documents[content] = found
        return found


def _declared(parser: Parser, tree: Tree, file: str, schema: str, findings: list[Problem]) -> Document | None:
    """The document of a file that obeys its schema; None when it doesn't (and why in ``findings``)."""
    try:
        read = parser.read(tree, file)
    except Invalid as wrong:
        findings.append(wrong.finding)
        return None
    document = Document(read.data or {}, read.lines)
    broken = check(schema, document, file)
    findings.extend(broken)
    return None if broken else document


def load_estate(parser: Parser, tree: Tree, findings: list[Problem]) -> model.EstateDeclared | None:
    """``lastgood.yaml``; None when it can't be used."""
    if ROOT not in tree.files:
        findings.extend(p for p in tree.problems if p.path == ROOT)
        findings.append(
            problem(ROOT, 0, N_("there is no lastgood.yaml"), N_("Make an estate with 'lastgood init'."))
        )
        return None
    document = _declared(parser, tree, ROOT, "estate", findings)
    if document is None:
        return None
    data = document.data
    environments: list[Environment] = []
    overrides = {}
    for position, entry in enumerate(data["environments"]):
        name = entry["name"]
        if name in overrides:
            findings.append(
                problem(
                    ROOT,
                    document.line(("environments", position, "name")),
                    N_("the environment '{name}' is declared twice"),
                    N_("Remove one."),
                    name=name,
                )  # fmt: skip
            )
            continue
        required, automatic = entry.get("criteria_required", False), entry.get("automatic", True)
        environments.append(Environment(name, len(environments), required, automatic))
        overrides[name] = _drivers(entry.get("drivers"), document, ("environments", position, "drivers"))
    sites = []
    for name, entry in data["sites"].items():
        entry = entry or {}
        for index, environment in enumerate(entry.get("environments", [])):
            if environment not in overrides:
                line = document.line(("sites", name, "environments", index))
                findings.append(_no_environment(ROOT, line, environment, overrides))
        platform, region = entry.get("platform", "own"), entry.get("region", "")
        sites.append(Site(name, platform, region, tuple(entry.get("environments", ()))))
    drivers = _drivers(data.get("drivers"), document, ("drivers",))
    return model.EstateDeclared(data["name"], document, tuple(environments), tuple(sites), drivers, overrides)


def _no_environment(file: str, line: int, word: str, known: Any) -> Problem:
    return unknown(file, line, N_("there is no environment '{word}'"), word, known)


def _drivers(given: Any, document: Document, path: yamlfile.Path) -> dict[str, dict[str, Any]]:
    return {name: prepare(s or {}, document, ROOT, (*path, name)) for name, s in (given or {}).items()}


def load_service(
    parser: Parser, tree: Tree, name: str, findings: list[Problem]
) -> model.ServiceDeclared | None:
    """``services/<name>/service.yaml``; None when it can't be used."""
    folder = f"services/{name}/"
    file = folder + "service.yaml"
    findings.extend(tree.problems_below(folder))
    if not NAME.fullmatch(name):
        findings.append(_bad_folder(folder, name))
        return None
    if file not in tree.files:
        findings.append(
            problem(
                folder,
                0,
                N_("the service '{name}' has no service.yaml"),
                N_("Add {file}, or remove the folder."),
                name=name,
                file=file,
            )  # fmt: skip
        )
        return None
    document = _declared(parser, tree, file, "service", findings)
    return None if document is None else _service(name, file, document, f"{folder}templates/", tree)


def _bad_folder(folder: str, name: str) -> Problem:
    return problem(
        folder, 0, N_("'{name}' is not a name that can be used here"),
        N_("Rename the folder: lower-case letters, digits and hyphens, at most 63."), name=name,
    )  # fmt: skip


def _service(name: str, file: str, document: Document, templates: str, tree: Tree) -> model.ServiceDeclared:
    data = document.data

    def ready(key: str) -> Any:
        return prepare(data.get(key), document, file, (key,))

    roles = tuple(_role(kind, entry) for kind, entry in (ready("roles") or {}).items())
    has_templates = any(p.startswith(templates) for p in tree.paths("services", name))
    secrets = ready("secrets") or {}
    windows = {key: seconds(value) for key, value in (data.get("windows") or {}).items()}
    return model.ServiceDeclared(
        name=name,
        file=file,
        document=document,
        owner=data["owner"],
        description=data.get("description", ""),
        artifact=(ready("artifact") or {}).get("path", ""),
        files=_use(ready("files"), "files" if has_templates else ""),
        runtime=_use(ready("runtime"), "process" if roles else ""),
        traffic=_use(ready("traffic"), ""),
        roles=roles,
        databases=tuple(data.get("databases", ())),
        secrets=tuple(
            model.SecretDeclared(key, where.get("env", ""), where.get("file", ""))
            for key, where in secrets.items()
        ),
        may_differ=tuple(data.get("may_differ", ())),
        signals={key: _signal(key, entry) for key, entry in (ready("signals") or {}).items()},
        criteria=_criteria(data),
        windows=Windows(**windows),
        sites=tuple(data.get("sites", ())),
        environments=tuple(data.get("environments", ())),
    )


def _use(given: Any, default: str) -> DriverUse | None:
    if isinstance(given, dict):
        return DriverUse(given["driver"], {k: v for k, v in given.items() if k != "driver"})
    driver = given or default
    return DriverUse(driver) if driver else None


def _role(kind: str, entry: dict[str, Any]) -> model.RoleDeclared:
    role = Role(kind)
    probe = entry.get("ready")
    readiness = Readiness() if role is Role.WEB else None
    if probe is not None:
        readiness = Readiness(probe.get("path", "/healthz"), seconds(probe.get("timeout", 30.0)))
    environment = {k: _text(v) for k, v in entry.get("environment", {}).items()}
    return model.RoleDeclared(
        role, entry["command"], environment, readiness, seconds(entry.get("stop_grace", 5.0))
    )


def _text(value: Any) -> Any:
    """An environment variable is text: 1 is ``1``, true is ``true``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _signal(name: str, entry: dict[str, Any]) -> model.SignalDeclared:
    rest = {k: v for k, v in entry.items() if k not in ("kind", "driver", "database")}
    return model.SignalDeclared(
        name, SignalKind(entry["kind"]), entry["driver"], entry.get("database", ""), rest
    )


def _criteria(data: dict[str, Any]) -> tuple[model.CriterionDeclared, ...]:
    found = []
    for name, entry in (data.get("criteria") or {}).items():
        kind = (data.get("signals") or {}).get(entry["signal"], {}).get("kind", "ratio")
        least = entry.get("least_sample", 20 if kind == "ratio" else 3)
        window = seconds(entry.get("window", 5.0))
        found.append(model.CriterionDeclared(name, entry["signal"], float(entry["limit"]), window, least))
    return tuple(found)


def database_names(tree: Tree, estate: model.EstateDeclared) -> list[str]:
    """Databases by folder, then those listed in ``lastgood.yaml`` only."""
    listed = estate.document.data.get("databases") or {}
    return list(dict.fromkeys([*tree.names("databases"), *listed]))


def load_database(
    parser: Parser, tree: Tree, estate: model.EstateDeclared, name: str, findings: list[Problem]
) -> model.DatabaseDeclared | None:
    """``databases/<name>/database.yaml``, or the entry in ``lastgood.yaml``; None when it can't be used."""
    folder = f"databases/{name}/"
    file = folder + "database.yaml"
    listed = estate.document.data.get("databases") or {}
    findings.extend(tree.problems_below(folder))
    if not NAME.fullmatch(name):
        findings.append(_bad_folder(folder, name))
        return None
    document: Document | None
    above: yamlfile.Path = ()
    if file in tree.files:
        if name in listed:
            findings.append(
                problem(
                    ROOT,
                    estate.document.line(("databases", name)),
                    N_("the database '{name}' is declared here and in {file}"),
                    N_("Remove one of the two."),
                    name=name,
                    file=file,
                )  # fmt: skip
            )
        document = _declared(parser, tree, file, "database", findings)
    elif name in listed:
        file, document, above = ROOT, estate.document, ("databases", name)
        broken = check("database", estate.document, ROOT, above)
        findings.extend(broken)
        document = None if broken else document
    else:
        findings.append(
            problem(
                folder,
                0,
                N_("the database '{name}' has no database.yaml"),
                N_("Add {file}, or list the database in lastgood.yaml."),
                name=name,
                file=file,
            )  # fmt: skip
        )
        return None
    if document is None:
        return None
    data: Any = document.data
    for part in above:
        data = data[part]
    settings = {"url": data["url"], **({"password": data["password"]} if "password" in data else {})}
    settings = {
        **prepare(data.get("settings", {}), document, file, (*above, "settings")),
        **prepare(settings, document, file, above),
    }
    return model.DatabaseDeclared(
        name, file, document, data["driver"], data.get("scope", "site"), settings, data.get("owner", ""),
        tuple(data["users"]), load_migrations(tree, name, findings),
    )  # fmt: skip


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
                )  # fmt: skip
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
            )  # fmt: skip
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
                )  # fmt: skip
            )
        elif not _COMMENT.sub(b"", scripts[script]).strip(b" \t\r\n;"):
            findings.append(
                problem(
                    file,
                    1,
                    N_("{script}.sql of the migration '{name}' is empty"),
                    N_("Write the statements. Without a revert that was tried there is no way back."),
                    name=name,
                    script=script,
                )  # fmt: skip
            )
        elif not _is_text(scripts[script]):
            findings.append(problem(file, 1, N_("the file is not UTF-8"), N_("Save it as UTF-8.")))
    return len(findings) == before


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def layer_files(service: str, environment: str, site: str) -> Sequence[tuple[str, str]]:
    """(name, file) of the layers of a unit, lowest first."""
    folder = f"services/{service}/"
    return (
        ("base", f"{folder}values.yaml"),
        (f"environment {environment}", f"{folder}environments/{environment}.yaml"),
        (f"site {site}", f"{folder}sites/{site}.yaml"),
        (f"environment/site {environment}/{site}", f"{folder}environments/{environment}/{site}.yaml"),
    )


def load_layer(parser: Parser, tree: Tree, name: str, file: str) -> Layer | None:
    """None when there is no such file. Raises Invalid."""
    return Layer(name, file, parser.read(tree, file)) if file in tree.files else None
