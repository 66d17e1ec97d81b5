"""Starts the real nginx of the system for tests, the demonstration and benchmarks.

Nothing listens anywhere but on 127.0.0.1. The configuration is the one that the driver's README asks for.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

START_TIMEOUT = 15.0
NOWHERE = "return 503;\n"
CONF = """\
{user}worker_processes {workers};
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 2000; }}
http {{
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    log_format lastgood escape=json '{{"status":"$status","proxy_host":"$proxy_host",'
        '"upstream_addr":"$upstream_addr","upstream_status":"$upstream_status","request_time":"$request_time"}}';
    access_log off;
    keepalive_requests 1000000;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    {http}
    include {upstreams}/*.conf;
{servers}}}
"""
SERVER = """\
    server {{
        listen {listen};
        access_log {log} lastgood;
        location / {{
            include {upstreams}/{slug}.location;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
"""


def executable() -> str:
    """Path of the binary; raises FileNotFoundError when nginx is not installed."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError("nginx: install the package 'nginx-light'")
    return found


@dataclass(frozen=True)
class Site:
    """One unit: its slug, and host:port at which it takes requests."""

    slug: str
    listen: str


@dataclass
class NginxServer:
    """One nginx with its files under ``directory``. ``http`` are more lines for the http block."""

    directory: Path
    workers: int = 2
    http: str = ""
    sites: list[Site] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def conf(self) -> Path:
        return self.directory / "nginx.conf"

    @property
    def upstreams(self) -> Path:
        return self.directory / "lastgood"

    @property
    def pid_file(self) -> Path:
        return self.directory / "nginx.pid"

    @property
    def error_log(self) -> Path:
        return self.directory / "error.log"

    def log(self, site: Site) -> Path:
        return self.directory / f"{site.slug}.log"

    @property
    def pid(self) -> int:
        """0 when it doesn't run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def settings(self, site: Site) -> dict[str, Any]:
        """What the driver is told of it."""
        return {
            "listen": site.listen,
            "upstreams": str(self.upstreams),
            "pid": str(self.pid_file),
            "binary": executable(),
            "conf": str(self.conf),
            "prefix": str(self.directory),
            "log": str(self.log(site)),
            "error_log": str(self.error_log),
        }

    def serve(self, *sites: Site, location: str = NOWHERE) -> None:
        """Have these as well: starts nginx, or reloads the one that runs. ``location`` is what stands where
        the driver's lines will be.
        """
        self.sites += sites
        self.upstreams.mkdir(exist_ok=True)
        for site in sites:
            (self.upstreams / f"{site.slug}.location").write_text(location)
        self.write_conf()
        if self.pid:
            self.reload()
        else:
            self.start()

    def write_conf(self) -> None:
        servers = "".join(
            SERVER.format(listen=site.listen, slug=site.slug, upstreams=self.upstreams, log=self.log(site))
            for site in self.sites
        )
        # Workers of root are somebody else otherwise, who may not look into a test's directory.
        user = "user root;\n" if os.geteuid() == 0 else ""
        self.conf.write_text(
            CONF.format(
                user=user, workers=self.workers, http=self.http, upstreams=self.upstreams, servers=servers
            )
        )

    def start(self) -> None:
        """Returns when it takes connections."""
        (self.directory / "tmp").mkdir(exist_ok=True)
        with self.error_log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command(), "-g", "daemon off;"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._until(self._listens)

    def command(self) -> Sequence[str]:
        return [executable(), "-p", str(self.directory), "-c", str(self.conf), "-e", str(self.error_log)]

    def reload(self) -> None:
        """Returns when all workers from before take no new connections. Raises RuntimeError when nginx keeps
        them, as it does with a configuration that is wrong.
        """
        before = self.accepting()
        os.kill(self.pid, signal.SIGHUP)
        self._until(lambda: bool(self.accepting()) and not self.accepting() & before)

    def reopen(self) -> None:
        """As after a rotation of logs; returns when the files are there."""
        os.kill(self.pid, signal.SIGUSR1)
        self._until(lambda: all(self.log(site).exists() for site in self.sites))

    def accepting(self) -> set[int]:
        """Pids of the workers that take new connections."""
        return {pid for pid, title in self._titles().items() if "is shutting down" not in title}

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 5 s."""
        if self._process is None:
            return
        workers = self._workers()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end(workers)

    def kill(self) -> None:
        """SIGKILL to master and workers."""
        if self._process is None:
            return
        workers = self._workers()
        self._process.kill()
        self._process.wait()
        self._end(workers)

    def restart(self) -> None:
        """Killed and started again."""
        self.kill()
        self.start()

    def _end(self, workers: Sequence[psutil.Process]) -> None:
        for worker in workers:
            try:
                worker.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(workers, 5)
        self._process = None

    def _workers(self) -> list[psutil.Process]:
        titles = self._titles()
        return [p for p in self._children() if p.pid in titles]

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children() if self.pid else []
        except psutil.NoSuchProcess:
            return []

    def _titles(self) -> dict[int, str]:
        """Of the workers, by pid; one that ends meanwhile has none, and hides none of the others."""
        found = {}
        for process in self._children():
            try:
                title = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            if title.startswith("nginx: worker"):
                found[process.pid] = title
        return found

    def _listens(self) -> bool:
        for site in self.sites:
            host, _, port = site.listen.rpartition(":")
            try:
                socket.create_connection((host, int(port)), 2).close()
            except OSError:
                return False
        return bool(self.accepting())

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            if not self.pid or time.monotonic() > deadline:
                raise RuntimeError(f"nginx is not as it should be:\n{self.error_log.read_text()[-2000:]}")
            time.sleep(0.01)


@contextmanager
def nginx(directory: Path) -> Iterator[NginxServer]:
    """An nginx that is not started yet, its files under ``directory``; stopped by pid at the end."""
    home = directory / "nginx"
    home.mkdir(parents=True, exist_ok=True)
    server = NginxServer(home)
    try:
        yield server
    finally:
        server.stop()
