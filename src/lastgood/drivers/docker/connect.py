"""Opens the way to an engine: a local socket, TCP with TLS, or ssh."""

from __future__ import annotations

from typing import Any

import docker
from docker.tls import TLSConfig

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.docker import ssh
from lastgood.drivers.docker.faults import mapped
from lastgood.drivers.docker.settings import DockerSettings

API = (1, 41)
"""The oldest API that is enough (Docker 20.10), and the one that is spoken while the engine still does."""
TIMEOUT = 60
BEHIND_SSH = "http+docker://far-end"
"""Not ``ssh``: of that name the SDK expects a socket of its own."""


def connect(settings: DockerSettings) -> Any:
    """A low-level client of the SDK. Raises Unreachable, or Rejected when the engine is too old."""
    with mapped(settings.host, "GET /version", changes=False):
        client = _client(settings, API)
        said = client.version(api_version=False)
    if _numbers(said["ApiVersion"]) < API:
        raise Rejected(
            N_("the docker engine at {host} speaks API {version}, and 1.41 is needed"),
            todo=N_("Bring it to Docker 20.10 or later."),
            where=settings.host,
            host=settings.host,
            version=said["ApiVersion"],
        )
    oldest = _numbers(said.get("MinAPIVersion", "1.12"))
    return client if oldest <= API else _client(settings, oldest)


def _client(settings: DockerSettings, version: tuple[int, ...]) -> Any:
    tls = settings.tls
    trust: TLSConfig | bool = False
    if tls is not None:
        trust = TLSConfig(client_cert=(str(tls.cert), str(tls.key)), ca_cert=str(tls.ca), verify=True)
    behind = settings.host.startswith("ssh://")
    client: Any = docker.APIClient(
        base_url="tcp://ssh:1" if behind else settings.host,
        version=".".join(str(n) for n in version),
        timeout=TIMEOUT,
        tls=trust,
    )
    client.trust_env = False  # no proxy and no other authority than ours, whatever the shell says
    if behind:
        client.base_url = BEHIND_SSH
        client.mount(BEHIND_SSH, ssh.SshAdapter(ssh.command(settings.host, settings.ssh_config)))
    return client


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
