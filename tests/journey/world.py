"""A small real estate for journeys: one service behind a real Caddy, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.bootstrap.places import Places
from lastgood.bootstrap.service import Service
from lastgood.domain.unit import UnitId

APP = """
import json, os, signal, socket, sys, tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
CONFIG = tomllib.load(open(os.path.join(os.environ["LASTGOOD_CONFIG"], "app.toml"), "rb"))

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        broken = CONFIG.get("broken", False) and self.path != "/healthz"
        self.send_response(500 if broken else 200)
        said = {"text": CONFIG["text"], "generation": os.environ["LASTGOOD_GENERATION"]}
        if broken:
            # What careless programs do: the secret lands in the log and in the error page.
            print("failed with", os.environ["TOKEN"], flush=True)
            said["debug"] = os.environ["TOKEN"]
        body = json.dumps(said).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass

if CONFIG.get("never_ready"):
    signal.pause()
if sys.argv[1] == "web":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
signal.pause()
"""

SERVICE = """
owner: team-shop
description: A page that says what its configuration says.
artifact: {path: app}
runtime: process
traffic: {driver: caddy, listen: "127.0.0.1:{{ values.port }}"}
%(databases)s
roles:
  web:
    command: ["%(python)s", "-B", "{artifact}/app.py", web, "{port}"]
    ready: {path: /healthz, timeout: 3s}
    stop_grace: 2s
  worker:
    command: ["%(python)s", "-B", "{artifact}/app.py", worker]
    stop_grace: 2s
may_differ: [port]
secrets: {TOKEN: {env: JOURNEY_TOKEN}}
signals:
  page: {kind: ratio, driver: http, path: /page}
criteria:
  page: {signal: page, limit: 0.9, window: 2s, least_sample: %(least_sample)s}
windows: {watch: %(watch)s, guard: %(guard)s, verify: %(verify)s, recovery: 1m}
"""

ESTATE = """
name: journey
environments: [{name: dev}, {name: prod, criteria_required: true}]
sites:
  us: {region: us-east}
drivers:
  files: {root: "%(root)s/files"}
  process: {root: "%(root)s/process"}
  caddy: {admin: "%(admin)s", pointers: "%(root)s/pointers"}
"""

DATABASE = """
driver: %(driver)s
scope: site
owner: team-shop
users: [page]
url: "%(url)s"
"""

INIT = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, note text);\n",
    "SELECT id, note FROM orders WHERE false;\n",
    "DROP TABLE orders;\n",
)
GIFT = (
    "ALTER TABLE orders ADD COLUMN gift text;\n",
    "SELECT gift FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN gift;\n",
)


@dataclass
class World:
    """``root`` holds estate, state and targets; ``admin`` is Caddy's; ``database_url`` may be empty."""

    root: Path
    admin: str
    ports: dict[str, int]
    database_url: str = ""
    watch: str = "1s"
    guard: str = "1s"
    verify: str = "2s"
    least_sample: int = 2
    values: dict[str, object] = field(default_factory=lambda: {"text": "one"})

    def __post_init__(self) -> None:
        for name in ("files", "process", "pointers", "estate"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        os.environ["JOURNEY_TOKEN"] = "journey-secret-value"
        self.write("lastgood.yaml", ESTATE % {"root": self.root, "admin": self.admin})
        self.write("services/page/app/app.py", APP)
        template = 'text = "{{ values.text }}"\nbroken = {{ values.broken | lower }}\n'
        template += "never_ready = {{ values.never_ready | lower }}\n"
        self.write("services/page/templates/app.toml.j2", template.replace("\\\n", "\n"))
        for environment, port in self.ports.items():
            self.write(f"services/page/environments/{environment}/us.yaml", f"port: {port}\n")
        if self.database_url:
            scheme = self.database_url.partition(":")[0]
            driver = {"mysql": "mariadb", "sqlite": "sqlite"}.get(scheme, "postgresql")
            parts = {"url": self.database_url, "driver": driver}
            self.write("databases/orders/database.yaml", DATABASE % parts)
            self.migration("0001_init", INIT)
        self.commit("first", text="one")

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

    def migration(self, name: str, scripts: tuple[str, str, str]) -> None:
        for kind, text in zip(("deploy", "verify", "revert"), scripts, strict=True):
            self.write(f"databases/orders/migrations/{name}/{kind}.sql", text)

    def commit(self, message: str, **values: object) -> str:
        """Write the base values (text, broken, never_ready) and commit everything."""
        merged = {"text": "one", "broken": False, "never_ready": False, **values}
        lines = [f"{k}: {str(v).lower() if isinstance(v, bool) else v}" for k, v in merged.items()]
        self.write("services/page/values.yaml", "\n".join(lines) + "\n")
        parts = {
            "python": sys.executable,
            "watch": self.watch,
            "guard": self.guard,
            "verify": self.verify,
            "least_sample": self.least_sample,
        }
        databases = "databases: [orders]" if self.database_url else ""
        self.write("services/page/service.yaml", SERVICE % {**parts, "databases": databases})
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=journey", "-c", "user.email=journey@example.invalid"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.estate, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


DEV = UnitId("page", "dev", "us")
PROD = UnitId("page", "prod", "us")
