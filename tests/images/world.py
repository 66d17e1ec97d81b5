"""A small real estate with images: one service behind a real HAProxy, as real containers."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.bootstrap.places import Places
from lastgood.bootstrap.service import Service
from lastgood.domain.image import Image
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy.settings import Settings
from lastgood.testing.caddy_server import free_port
from lastgood.testing.docker_engine import DockerEngine
from lastgood.testing.haproxy_server import Backend, HaproxyServer
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer
from tests.images.program import image

DEV = UnitId("page", "dev", "us")
MEMORY = "64m"

TEMPLATE = """\
text = {{ values.text }}
behaviour = {{ values.behaviour }}
slow_ms = {{ values.slow_ms }}
"""
VALUES = {"text": "one", "behaviour": "", "slow_ms": 0}
SERVICE: Mapping[str, Any] = {
    "owner": "team-shop",
    "description": "A page that says what its configuration says, and a worker.",
    "image": "{{ values.image }}",
    "roles": {
        "web": {"replicas": 2, "ready": {"path": "/healthz", "timeout": "3s"}, "stop_grace": "2s"},
        "worker": {"command": ["worker"], "stop_grace": "2s"},
    },
    "may_differ": ["port"],
    "signals": {"page": {"kind": "ratio", "driver": "haproxy"}},
    "criteria": {"page": {"signal": "page", "limit": 0.95, "window": "500ms", "least_sample": 10}},
    "windows": {"watch": "500ms", "guard": "500ms", "verify": "500ms", "recovery": "1m"},
}


@dataclass
class Parts:
    """The real servers around an estate. ``gone`` is an address at which nobody listens."""

    engine: DockerEngine
    registry: RegistryServer
    proxy: HaproxyServer


@dataclass
class World:
    """``root`` holds estate, state and spools; ``service_yaml`` may be changed before a commit.

    ``network``: ``host``, which starts faster, or ``bridge``. Customers reach ``ports`` by unit.
    """

    root: Path
    parts: Parts
    sites: Sequence[str] = ("us",)
    services: Sequence[str] = ("page",)
    network: str = "host"
    service_yaml: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(dict(SERVICE)))
    estate_yaml: dict[str, Any] = field(default_factory=dict)
    ports: dict[UnitId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for unit in self.units:
            self.ports[unit] = free_port()
            for place in ("in", "taken", "done"):
                (self.spool(unit) / place).mkdir(parents=True)
        self.estate.mkdir()
        self.set_token("first-secret-value")
        self.git("init", "-q", "-b", "main")
        spool = f"{self.root}/spool/{{{{ service }}}}.{{{{ environment }}}}.{{{{ site }}}}:/spool"
        # The health check of an image asks a web server.
        worker = {"volumes": [spool], "healthcheck": {"disable": True}}
        self.service_yaml.setdefault(
            "runtime", {"driver": "docker", "memory": MEMORY, "roles": {"worker": worker}}
        )
        self.service_yaml.setdefault("secrets", {"TOKEN": {"file": str(self.token)}})
        listen = "127.0.0.1:{{ values.port }}"
        self.service_yaml.setdefault("traffic", {"driver": "haproxy", "listen": listen})
        self.serve()

    @property
    def units(self) -> list[UnitId]:
        return [UnitId(service, "dev", site) for service in self.services for site in self.sites]

    @property
    def estate(self) -> Path:
        return self.root / "estate"

    @property
    def token(self) -> Path:
        return self.root / "token"

    @property
    def proxy_state(self) -> Path:
        return self.root / "haproxy-state"

    @property
    def places(self) -> Places:
        return Places(self.root / "state", self.root / "key" / "seal.key", self.estate)

    def spool(self, unit: UnitId = DEV) -> Path:
        return self.root / "spool" / unit.slug

    def service(self) -> Service:
        return Service(self.places)

    def set_token(self, value: str) -> None:
        """What the next release has as its secret."""
        self.token.write_text(value)

    def serve(self, *lines: str) -> None:
        """Have HAProxy serve the units, ``lines`` added to each backend."""
        self.proxy_state.mkdir(exist_ok=True)
        self.parts.proxy.serve(*(Backend(self.settings(unit), lines) for unit in self.units))

    def settings(self, unit: UnitId) -> Settings:
        values = {"listen": f"127.0.0.1:{self.ports[unit]}", **self._estate()["drivers"]["haproxy"]}
        return Settings.of(unit, values)

    def push(self, name: str, behaviour: str = "", **more: Any) -> Image:
        """A new image in the registry, as ``shop/page:<name>``."""
        return push(self.parts.registry, f"shop/page:{name}", image(name, behaviour, **more))

    def commit(self, name: str, message: str = "", **values: object) -> str:
        """Commit the estate with the image ``name`` (a tag, or a whole reference) and these values."""
        reference = name if "/" in name else f"{self.parts.registry.address}/shop/page:{name}"
        shown = {**VALUES, "text": name.rpartition(":")[2], **values, "image": reference}
        self.write("lastgood.yaml", {**self._estate(), **self.estate_yaml})
        for service in self.services:
            folder = f"services/{service}"
            self.write(f"{folder}/service.yaml", self.service_yaml)
            self.write(f"{folder}/values.yaml", shown)
            (self.estate / folder / "templates").mkdir(exist_ok=True)
            (self.estate / folder / "templates" / "app.conf.j2").write_text(TEMPLATE)
        for unit, port in self.ports.items():
            where = f"services/{unit.service}/environments/{unit.environment}/{unit.site}.yaml"
            self.write(where, {"port": port})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message or name)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, content: Mapping[str, Any]) -> None:
        """A file of the estate; JSON is YAML."""
        file = self.estate / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=images", "-c", "user.email=images@example.invalid"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.estate, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def _estate(self) -> dict[str, Any]:
        proxy = {"sockets": [str(self.parts.proxy.socket)], "state": str(self.proxy_state)}
        return {
            "name": "images",
            "environments": [{"name": "dev"}],
            "sites": {site: {} for site in self.sites},
            "drivers": {
                "docker": {"host": self.parts.engine.host, "network": self.network},
                "haproxy": proxy,
            },
        }
