"""A small company: pages at three sites as real processes behind a real Caddy, which need an api beside them
that is nothing but configuration.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.actions.deploy_many import deploy_many
from lastgood.bootstrap.parts import build_context
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.service import Service
from lastgood.domain.change import Change
from lastgood.domain.status import ChangeProgress
from lastgood.domain.unit import UnitId
from lastgood.testing.caddy_server import free_port
from tests.journey.page import page

SITES = ("us", "de", "jp")
SERVICES = ("api", "page")

APP = """
import os, sys, tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
CONFIG = tomllib.load(open(os.path.join(os.environ["LASTGOOD_CONFIG"], "app.toml"), "rb"))

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        broken = CONFIG["broken"] and self.path != "/healthz"
        body = b'{"text": "%s"}' % CONFIG["text"].encode()
        self.send_response(500 if broken else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

COMMON = """
owner: team-shop
may_differ: [port, broken, path]
criteria:
  answers: {signal: answers, limit: 0.9, window: 1s, least_sample: 2}
windows: {watch: %(watch)s, guard: %(guard)s, verify: 1s, recovery: 1m}
"""
API = """
signals:
  answers: {kind: ratio, driver: http, url: "%(admin)s/{{ values.path }}"}
"""
PAGE = """
needs: [api]
artifact: {path: app}
runtime: process
traffic: {driver: caddy, listen: "127.0.0.1:{{ values.port }}"}
roles:
  web:
    command: ["%(python)s", "-BS", "{artifact}/app.py", "{port}"]
    ready: {path: /healthz, timeout: 10s}
    stop_grace: 1s
signals:
  answers: {kind: ratio, driver: http, path: /page}
"""

ESTATE = """
name: fleet
environments: [{name: prod, criteria_required: true, automatic: %(automatic)s}]
sites: {us: {}, de: {}, jp: {}}
waves: %(waves)s
drivers:
  files: {root: "%(root)s/files"}
  process: {root: "%(root)s/process"}
  caddy: {admin: "%(admin)s", pointers: "%(root)s/pointers"}
"""

REQUEST = {"reason": "test", "owner": "team", "impact": "nobody"}


def unit(name: str) -> UnitId:
    """``page/us``: a unit of the one environment."""
    service, _, site = name.partition("/")
    return UnitId(service, "prod", site)


@dataclass
class Fleet:
    """``waves`` and ``watch``, ``guard`` and ``automatic`` are what the next commit declares."""

    root: Path
    admin: str
    waves: str = "{canary: us, size: 2, concurrency: 2}"
    watch: str = "500ms"
    guard: str = "500ms"
    automatic: bool = True
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("files", "process", "pointers", "estate"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.ports = {site: free_port() for site in SITES}
        self.git("init", "-q", "-b", "main")
        self.write("services/api/templates/app.toml.j2", 'text = "{{ values.text }}"\n')
        self.write("services/page/app/app.py", APP)
        template = 'text = "{{ values.text }}"\nbroken = {{ values.broken | lower }}\n'
        self.write("services/page/templates/app.toml.j2", template)
        for site, port in self.ports.items():
            self.write(f"services/page/environments/prod/{site}.yaml", f"port: {port}\n")
        self.commit("one")

    @property
    def estate(self) -> Path:
        return self.root / "estate"

    @property
    def places(self) -> Places:
        return Places(self.root / "state", self.root / "key" / "seal.key", self.estate)

    def service(self) -> Service:
        return Service(self.places)

    def write(self, path: str, text: str) -> None:
        file = self.estate / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))

    def commit(self, text: str, *broken: str) -> None:
        """Everything says ``text``; ``broken`` are sites whose page answers with errors, or ``api/site``."""
        parts = {
            "root": self.root, "admin": self.admin, "waves": self.waves, "python": sys.executable,
            "watch": self.watch, "guard": self.guard, "automatic": str(self.automatic).lower(),
        }  # fmt: skip
        self.write("lastgood.yaml", ESTATE % parts)
        self.write("services/api/service.yaml", (COMMON + API) % parts)
        self.write("services/page/service.yaml", (COMMON + PAGE) % parts)
        self.write("services/api/values.yaml", f"text: {text}\npath: config/\n")
        self.write("services/page/values.yaml", f"text: {text}\nbroken: false\n")
        for site in SITES:
            told = f"broken: {str(site in broken).lower()}\n"
            self.write(f"services/page/sites/{site}.yaml", told)
            path = "nowhere" if f"api/{site}" in broken else "config/"
            self.write(f"services/api/sites/{site}.yaml", f"path: {path}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", text)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=fleet", "-c", "user.email=fleet@example.invalid"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.estate, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def begin(self, *wanted: str) -> Change:
        """Accept a change; returns at once."""
        return self.service().many.deploy(wanted or ("*@prod/*",), **REQUEST)

    def accept(self, *wanted: str) -> Change:
        """The same without any runner."""
        return deploy_many(build_context(self.places), wanted, **REQUEST)

    def follow(
        self, change: str, wanted: Callable[[ChangeProgress], bool] = lambda progress: False
    ) -> ChangeProgress:
        """As it is when it has come so far, or is over with all that follows from it."""
        return list(self.service().many.follow(change, wanted))[-1]

    def pages(self) -> dict[str, str]:
        """What customers see at each site."""
        return {site: page(port)["text"] for site, port in self.ports.items()}
