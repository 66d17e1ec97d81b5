"""A team's Docker host as docs/images.md finds it: engine, registry, HAProxy, a service that runs already."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lastgood.testing.caddy_server import free_port
from lastgood.testing.docker_engine import DockerEngine, docker_engine
from lastgood.testing.haproxy_server import HaproxyServer, haproxy
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.docs.reading import Block
from tests.docs.shell import Shell
from tests.images.program import image
from tests.journey.conftest import stop_everything, wait_for

UNIT = "web@prod/us"
SERVICE = "services/web/service.yaml"
SECRET = "not-to-be-seen"
FRONTEND = "frontend web\n    bind 127.0.0.1:{port}\n    default_backend web\n"
BACKEND = "backend web\n    server old {old} check\n"


@dataclass
class DockerHost(Shell):
    """``here`` puts this host's names in the place of the page's; ``unused`` are those it never met."""

    engine: DockerEngine = field(kw_only=True)
    registry: RegistryServer = field(kw_only=True)
    proxy: HaproxyServer = field(kw_only=True)
    port: int = field(kw_only=True)
    old: str = field(kw_only=True)
    """Where the container of before lastgood listens."""
    names: dict[str, str] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        secret = self.directory / "payment.key"
        secret.write_text(f"{SECRET}\n")
        self.names = {
            "registry.example.com": self.registry.address,
            "--listen 80": f"--listen {self.port}",
            "127.0.0.1:8081": self.old,
            "/var/lib/haproxy/lastgood": str(self.directory / "haproxy-lastgood"),
            "/etc/shop/payment.key": str(secret),
            "/mnt/key/seal.key": str(self.directory / ".config" / "lastgood" / "seal.key"),
            # What init writes.
            "unix:///var/run/docker.sock": self.engine.host,
            "/run/haproxy/admin.sock": str(self.proxy.socket),
            "watch: 30s": "watch: 1s",
            "verify: 10s": "verify: 1s",
        }
        self.unused = set(self.names)

    def here(self, text: str) -> str:
        for name, own in self.names.items():
            if name in text:
                self.unused.discard(name)
                text = text.replace(name, own)
        return text

    def type(self, command: str, code: int = 0) -> str:
        """A command of the page; what it printed."""
        said = self.shell(self.here(command), code)
        if command.startswith("lastgood init"):
            for name in ("lastgood.yaml", SERVICE):
                file = self.estate / name
                file.write_text(self.here(file.read_text()))
        return said

    def edit_service(self, block: Block) -> None:
        """Have the parts of ``block`` in service.yaml instead of those that are there."""
        file = self.estate / SERVICE
        parts = yaml.safe_load(self.here(block.text))
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **parts}, sort_keys=False))

    def edit_haproxy(self, block: Block) -> None:
        """Have the backend of ``block`` in haproxy.cfg; the reload is up to the page."""
        ours = BACKEND.format(old=self.old)
        text = self.proxy.config.read_text()
        assert ours in text
        assert set(ours.splitlines()) <= set(self.here(block.text).splitlines()), (
            "the user's own lines are gone"
        )
        self.proxy.config.write_text(text.replace(ours, f"{self.here(block.text)}\n"))

    def settle(self) -> None:
        """Until no rollout is open."""
        wait_for(lambda: self.told("lastgood status")["units"][0]["rollout"]["state"] == "accepted_early")

    def containers(self) -> list[str]:
        """Names of the running ones."""
        return self.engine.docker("ps", "--format", "{{.Names}}").split()

    def lose_lastgood(self) -> None:
        """Estate, state and containers are gone; only the bundle, the key and HAProxy are left."""
        stop_everything(self.directory)
        shutil.rmtree(self.estate)
        self.engine.docker("rm", "--force", *self.containers())
        self.engine.docker("system", "prune", "--all", "--force")


@contextmanager
def docker_host(directory: Path) -> Iterator[DockerHost]:
    """``web:1.3`` runs, ``1.4`` is in the registry, and ``1.5``, which can't be started."""
    with ExitStack() as stack:
        engine = stack.enter_context(docker_engine())
        shelf = stack.enter_context(registry(directory))
        proxy = stack.enter_context(haproxy(directory))
        for version, broken in (("1.3", {}), ("1.4", {}), ("1.5", {"entrypoint": ["/gone"]})):
            push(shelf, f"shop/web:{version}", image(version, **broken))
        port, old = free_port(), f"127.0.0.1:{free_port()}"
        run = ("run", "--detach", "--name", "web", "--publish", f"{old}:8080")
        engine.docker(*run, f"{shelf.address}/shop/web:1.3")
        proxy.serve_text(FRONTEND.format(port=port) + BACKEND.format(old=old))
        home = directory / "home"
        home.mkdir()
        stack.callback(stop_everything, home)
        yield DockerHost(home, "shop", engine=engine, registry=shelf, proxy=proxy, port=port, old=old)
