"""A small estate that works, to begin with: one service, three environments, two sites."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import NAME
from lastgood.estate.git import Git, environment
from lastgood.estate.tree import ROOT

ENVIRONMENTS = ("dev", "staging", "prod")
SITES = {"us": ("us-east", "Hello"), "de": ("eu-central", "Hallo")}
_FIRST_PORT = 8101

_LASTGOOD = """\
name: {name}
description: What we run, and where.

environments:              # in order of promotion
  - name: dev
  - name: staging
  - name: prod
    criteria_required: true

sites:
{sites}
drivers:                   # where things go on this machine; 'run' is not in Git
  files: {{root: {files}}}
  process: {{root: {process}}}
  caddy: {{admin: "http://127.0.0.1:2019", pointers: {pointers}}}
"""
_SERVICE = """\
owner: {name}-team
description: Greets whoever asks; replace it by something of yours.

artifact: {path: app}
roles:
  web:
    command: [python3, -B, "{artifact}/server.py", --config, "{config}/hello.json", --port, "{port}"]
    ready: {path: /healthz, timeout: 20s}
traffic: {driver: caddy, listen: "127.0.0.1:{{ values.port }}"}

may_differ: [port, greeting]   # a site that differs in any other key is a mistake

signals:
  answers: {kind: ratio, driver: http, path: /healthz}
criteria:
  answers: {signal: answers, limit: 0.9, window: 5s, least_sample: 3}
windows: {watch: 5s, guard: 2m, verify: 5s, recovery: 5m}
"""
_VALUES = """\
# What holds everywhere, unless environments/<name>.yaml, sites/<name>.yaml or
# environments/<name>/<site>.yaml say otherwise (the later one wins).
greeting: Hello
audience: world
"""
_TEMPLATE = """\
{
  "greeting": {{ values.greeting | tojson }},
  "audience": {{ values.audience | tojson }},
  "environment": {{ environment | tojson }},
  "site": {{ site | tojson }}
}
"""
_SERVER = '''\
"""Answers GET / with the configured greeting, and GET /healthz with ok."""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with open(options.config, encoding="utf-8") as file:
        config = json.load(file)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/healthz":
                status, text = 200, "ok"
            elif self.path == "/":
                status, text = 200, "{greeting}, {audience}! ({environment}/{site})".format(**config)
            else:
                status, text = 404, "not found"
            body = (text + "\\n").encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
'''


def scaffold(directory: Path, *, name: str, files: Mapping[str, str] | None = None) -> list[Path]:
    """Write an estate into ``directory``: ``files`` (path to text), or a small web service to be replaced.
    It is committed when the directory is not in a repository yet.

    Returns the files, relative to ``directory``. Raises InvalidInput when the name can't be used, when
    an estate is there already, or when a file would be overwritten; nothing is written then.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(
            N_("'{name}' is not a name that can be used here"),
            todo=N_("Use lower-case letters, digits and hyphens, at most 63."),
            name=name,
        )
    if (directory / ROOT).exists():
        raise InvalidInput(
            N_("there is an estate in '{path}' already"),
            todo=N_("Use it as it is, or name another directory."),
            where=str(directory / ROOT),
            path=str(directory),
        )
    files = files or _files(directory.resolve(), name)
    for path in files:
        if (directory / path).exists():
            raise InvalidInput(
                N_("'{path}' is there already and would be overwritten"),
                todo=N_("Move it away, or name another directory."),
                where=str(directory / path),
                path=path,
            )
    try:
        for path, text in files.items():
            _write(directory / path, text)
    except OSError as wrong:
        raise InvalidInput(
            N_("the estate can't be written: {words}"),
            todo=N_("Look for free space and the right to write, then try again."),
            where=str(wrong.filename or directory),
            words=wrong.strerror or str(wrong),
        ) from wrong
    if Git(directory).run("rev-parse", "--git-dir").returncode:
        (directory / "run").mkdir(exist_ok=True)
        _commit(directory, list(files))
    return [Path(path) for path in files]


def _files(root: Path, name: str) -> dict[str, str]:
    sites = "".join(f"  {site}: {{region: {region}}}\n" for site, (region, _) in SITES.items())
    run = {part: json.dumps(str(root / "run" / part)) for part in ("files", "process", "pointers")}
    service = "services/hello"
    files = {
        ".gitignore": "/run/\n",
        f"{service}/service.yaml": _SERVICE.replace("{name}", name),
        f"{service}/values.yaml": _VALUES,
        f"{service}/templates/hello.json.j2": _TEMPLATE,
        f"{service}/app/server.py": _SERVER,
    }
    port = _FIRST_PORT
    for environment_name in ENVIRONMENTS:
        for site in SITES:
            files[f"{service}/environments/{environment_name}/{site}.yaml"] = f"port: {port}\n"
            port += 1
    for site, (_, greeting) in SITES.items():
        files[f"{service}/sites/{site}.yaml"] = f"greeting: {greeting}\n"
    # Last: a directory with lastgood.yaml is a whole estate, so what stopped half way can be done again.
    return files | {ROOT: _LASTGOOD.format(name=name, sites=sites, **run)}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _commit(directory: Path, files: list[str]) -> None:
    git = Git(directory)
    git.out("init", "--quiet", "--initial-branch=main")
    git.out("add", "--", *files)
    identity = [f"user.{key}={_identity(directory, key)}" for key in ("name", "email")]
    git.out("commit", "--quiet", "--no-gpg-sign", "-m", "An estate to begin with", settings=identity)


def _identity(directory: Path, key: str) -> str:
    """The user's own name or address for commits, which is the one thing asked of their configuration."""
    own = {k: v for k, v in environment().items() if not k.startswith("GIT_CONFIG")}
    done = subprocess.run(
        ["git", "config", "--get", f"user.{key}"], cwd=directory, env=own, capture_output=True, check=False
    )
    fallback = {"name": "lastgood", "email": "lastgood@localhost"}[key]
    return done.stdout.decode(errors="replace").strip() or fallback
