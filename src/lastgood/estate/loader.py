"""Files to declarations: ``lastgood.yaml``, services, databases and their layers of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lastgood.domain.criterion import SignalKind
from lastgood.domain.message import N_
from lastgood.domain.release import CanaryStep, Keep, Readiness, Windows
from lastgood.domain.unit import NAME, Environment, Role, Site
from lastgood.domain.wave import Wait, WavePolicy
from lastgood.estate import model, yamlfile
from lastgood.estate.layers import Layer
from lastgood.estate.model import DriverUse, seconds
from lastgood.estate.problems import Invalid, invalid, problem, unknown
from lastgood.estate.render import prepare
from lastgood.estate.schema import check
from lastgood.estate.tree import ROOT, Tree
from lastgood.estate.yamlfile import Document
from lastgood.ports.estate import Problem

RUNS_IMAGES = frozenset({"docker"})
"""Runtimes that start an image, and bring the rendered configuration into what they start."""
RUNS_ONE = frozenset({"process"})
"""Runtimes that run one instance of a role, whatever is asked for."""


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
                    file,
                    found.line(()),
                    N_("the file must be a mapping of keys to values"),
                    N_("Begin it with 'key: value'."),
                )
            self._documents[content] = found
        return found


def declared(parser: Parser, tree: Tree, file: str, schema: str, findings: list[Problem]) -> Document | None:
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
    document = declared(parser, tree, ROOT, "estate", findings)
    if document is None:
        return None
    data = document.data
    environments: list[Environment] = []
    overrides, waves = {}, {}
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
                )
            )
            continue
        required, automatic = entry.get("criteria_required", False), entry.get("automatic", True)
        environments.append(Environment(name, len(environments), required, automatic))
        overrides[name] = _drivers(entry.get("drivers"), document, ("environments", position, "drivers"))
        waves[name] = _waves({**data.get("waves", {}), **entry.get("waves", {})})
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
    return model.EstateDeclared(
        data["name"], document, tuple(environments), tuple(sites), drivers, overrides, waves
    )


def _waves(given: dict[str, Any]) -> WavePolicy:
    """What is not said is the default's."""
    known = dict(given)
    size = known.pop("size", None)
    if isinstance(size, str):
        known["share"] = int(size.removesuffix("%")) / 100
    elif size is not None:
        known["size"] = size
    if "wait" in known:
        known["wait"] = Wait(known["wait"])
    if "pause" in known:
        known["pause"] = seconds(known["pause"])
    return WavePolicy(**known)


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
        findings.append(bad_folder(folder, name))
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
            )
        )
        return None
    document = declared(parser, tree, file, "service", findings)
    return None if document is None else _service(name, file, document, f"{folder}templates/", tree)


def bad_folder(folder: str, name: str) -> Problem:
    return problem(
        folder,
        0,
        N_("'{name}' is not a name that can be used here"),
        N_("Rename the folder: lower-case letters, digits and hyphens, at most 63."),
        name=name,
    )


def _service(name: str, file: str, document: Document, templates: str, tree: Tree) -> model.ServiceDeclared:
    data = document.data

    def ready(key: str) -> Any:
        return prepare(data.get(key), document, file, (key,))

    roles = tuple(_role(kind, entry) for kind, entry in (ready("roles") or {}).items())
    has_templates = any(p.startswith(templates) for p in tree.paths("services", name))
    secrets = ready("secrets") or {}
    runtime = _use(ready("runtime"), "" if not roles else "docker" if data.get("image") else "process")
    runs_images = runtime is not None and runtime.driver in RUNS_IMAGES
    windows = {key: seconds(value) for key, value in (data.get("windows") or {}).items()}
    return model.ServiceDeclared(
        name=name,
        file=file,
        document=document,
        owner=data["owner"],
        description=data.get("description", ""),
        artifact=(ready("artifact") or {}).get("path", ""),
        image=ready("image") or "",
        registry=_use(ready("registry"), "registry" if data.get("image") else ""),
        canary=tuple(CanaryStep(float(c["percent"]), seconds(c["watch"])) for c in data.get("canary", ())),
        keep=Keep(**(data.get("keep") or {})),
        files=_use(ready("files"), "files" if has_templates and not runs_images else ""),
        runtime=runtime,
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
        needs=tuple(data.get("needs", ())),
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
        role, entry.get("command", []), environment, readiness, seconds(entry.get("stop_grace", 5.0)),
        entry.get("replicas", 1), entry.get("connections", 0),
    )  # fmt: skip


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
