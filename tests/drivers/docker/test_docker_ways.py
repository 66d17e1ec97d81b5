"""Engines that are reached over TCP with TLS, or through the system's ssh client."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.docker.connect import connect
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.testing.caddy_server import free_port
from lastgood.testing.conformance_runs import BOTH, eventually, raised
from lastgood.testing.docker_engine import DockerEngine, docker_engine
from tests.drivers.docker.conftest import Bench, in_short


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def certificates(directory: Path, authority: str = "ca") -> None:
    """An authority, and with its signature a server on 127.0.0.1 and a client."""
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(directory, "req", "-x509", *key, "-days", "2", "-subj", f"/CN={authority}", "-keyout", "ca.key",
            "-out", "ca.pem", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    for name, use in (("server", "serverAuth"), ("client", "clientAuth")):
        extensions = f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={use}\n"
        (directory / f"{name}.ext").write_text(extensions)
        openssl(
            directory, "req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"
        )
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days",
                "2", "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip


@dataclass
class Remote:
    engine: DockerEngine
    settings: dict[str, Any]


@pytest.fixture(scope="module")
def over_tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    directory = tmp_path_factory.mktemp("tls")
    certificates(directory)
    host = f"tcp://127.0.0.1:{free_port()}"
    files = {"tlscacert": "ca.pem", "tlscert": "server.pem", "tlskey": "server.key"}
    flags = [f"--{flag}={directory / name}" for flag, name in files.items()]
    with docker_engine("--host", host, "--tlsverify", *flags) as engine:
        tls = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
        yield Remote(engine, {"host": host, "tls": {key: str(directory / name) for key, name in tls.items()}})


@pytest.fixture
def tcp(over_tcp: Remote, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(over_tcp.engine, tmp_path / "state")
    made.settings = {**over_tcp.settings, "network": "host"}
    yield made
    made.end()


@pytest.fixture
def ssh(engine: DockerEngine, tmp_path: Path) -> Iterator[Bench]:
    """A real sshd for whom the far end's engine is ours."""
    made = Bench(engine, tmp_path / "state")
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPidFile none\n"
        f"SetEnv DOCKER_HOST={engine.host}\n"
    )
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "ssh_config").write_text(
        f"IdentityFile {tmp_path}/user\nIdentitiesOnly yes\nUserKnownHostsFile {tmp_path}/known\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "sshd_config"]
    with (tmp_path / "sshd.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: b"listening" in (tmp_path / "sshd.log").read_bytes())
        host = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        made.settings = {"host": host, "ssh_config": str(tmp_path / "ssh_config"), "network": "host"}
        yield made
    finally:
        made.end()
        server.terminate()
        server.wait()


def whole_life(bench: Bench) -> None:
    """Load, start, look, put, evidence, drift, stop, remove: every call there is, over this way."""
    files = bench.files(app_yaml=b"colour: blue\n")
    generation = in_short(bench.generation("g1", files=files, secrets=(bench.secret("TOKEN", "hunter2"),)))
    driver = bench.driver
    driver.refuse_without_room(generation, BOTH)
    driver.prepare(generation)
    driver.start(generation, BOTH)
    for role in BOTH:
        eventually(lambda role=role: driver.ready(generation, role).running)
    assert driver.status()[0].addresses[0].startswith("127.0.0.1:")
    assert driver.drift(generation) == ()
    assert b"hunter2" not in b"".join(item.content for item in driver.evidence())
    driver.stop("g1", BOTH)
    driver.remove("g1")
    assert driver.status() == ()


def test_over_tcp_with_tls(tcp: Bench) -> None:
    whole_life(tcp)


def test_an_engine_whose_authority_is_another_is_not_talked_to(tcp: Bench, tmp_path: Path) -> None:
    certificates(tmp_path, "somebody else")
    tcp.settings["tls"] = {**tcp.settings["tls"], "ca": str(tmp_path / "ca.pem")}
    error = raised(tcp.driver.status)
    assert isinstance(error, Rejected)
    assert "does not prove who it is" in str(error)


def test_an_engine_that_does_not_trust_us_says_so(tcp: Bench, tmp_path: Path) -> None:
    certificates(tmp_path, "somebody else")
    mine = {"cert": str(tmp_path / "client.pem"), "key": str(tmp_path / "client.key")}
    tcp.settings["tls"] = {**tcp.settings["tls"], **mine}
    assert isinstance(raised(tcp.driver.status), Rejected | Unreachable)


def test_nobody_s_proxy_or_authority_gets_in_between(tcp: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    assert tcp.driver.status() == ()


def test_over_ssh(ssh: Bench) -> None:
    whole_life(ssh)


def test_a_host_key_that_is_not_known_is_no_engine(ssh: Bench, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    error = raised(ssh.driver.status)
    assert isinstance(error, Unreachable)
    assert "Host key verification failed" in str(error)
    assert error.where == ssh.settings["host"]


def test_a_connection_that_breaks_is_made_anew(ssh: Bench) -> None:
    driver = ssh.driver
    driver.status()
    mine = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True
    )
    (line,) = [line for line in mine.stdout.splitlines() if " ssh -o BatchMode" in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)

    def asked() -> bool:
        """A connection that broke may be told once, as nothing that was sent; it is never kept."""
        try:
            return driver.status() == ()
        except Unreachable:
            return False

    eventually(asked, within=5.0)


def test_an_engine_that_is_not_there_is_unreachable(bench: Bench, tmp_path: Path) -> None:
    bench.settings = {"host": f"unix://{tmp_path}/none.sock"}
    error = raised(bench.driver.status)
    assert isinstance(error, Unreachable)
    assert error.cause is Cause.DEPENDENCY_DOWN
    bench.settings = {"host": f"tcp://127.0.0.1:{free_port()}"}
    assert isinstance(raised(bench.driver.status), Unreachable)


class Hangs(socketserver.StreamRequestHandler):
    """Says which version it speaks, and ends every other conversation where an answer was due."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            if b"/version" not in line:
                return
            answer = json.dumps({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            )
            self.wfile.write(head.encode() + answer)


def test_what_was_sent_and_not_answered_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "hangs.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Hangs) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        engine = Engine(DockerSettings.parse({"host": f"unix://{path}"}, "test"))
        try:
            changed, looked = (
                raised(lambda: engine.kill("it", "SIGTERM")),
                raised(lambda: engine.inspect("it")),
            )
        finally:
            server.shutdown()
    assert isinstance(changed, OutcomeUnknown)
    assert isinstance(looked, Unreachable), "a look that failed changed nothing"


@pytest.mark.parametrize(
    ("oldest", "newest", "spoken"),
    [("1.12", "1.41", "1.41"), ("1.24", "1.47", "1.41"), ("1.44", "1.52", "1.44")],
)
def test_the_oldest_version_that_both_speak_is_spoken(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, oldest: str, newest: str, spoken: str
) -> None:
    said = {"ApiVersion": newest, "MinAPIVersion": oldest}
    monkeypatch.setattr(docker.APIClient, "version", lambda self, api_version: said)
    assert connect(DockerSettings.parse({"host": engine.host}, "test")).api_version == spoken


def test_an_engine_that_is_too_old_is_refused(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker.APIClient, "version", lambda self, api_version: {"ApiVersion": "1.40"})
    error = raised(lambda: connect(DockerSettings.parse({"host": engine.host}, "test")))
    assert isinstance(error, Rejected)
    assert "speaks API 1.40" in str(error)
