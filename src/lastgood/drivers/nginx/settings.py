"""Settings of the nginx driver and of its signals."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId

ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
CODE = re.compile(r"[1-5][0-9][0-9]|[1-5]xx")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
"""What can stand in nginx's configuration without quotes, and in a regular expression once escaped."""
HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")
REQUEST_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
VARIABLES = re.compile(r"(\$[a-z][a-z0-9_]*)+")
DEFAULT_PID = "/run/nginx.pid"
NAME_LENGTH = 24
"""A variable's name has to fit into nginx's hash bucket of 64 bytes."""
KNOWN = (
    "listen", "upstreams", "pid", "reload", "binary", "conf", "prefix", "ask", "host", "path",
    "peers", "upstream_options", "split_on", "cut_after", "log", "error_log",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """One unit behind one nginx.

    ``listen`` is host:port at which customers reach it; ``upstreams`` the directory that nginx includes.
    ``pid`` is the master's pid file, None where its processes can't be seen (a container): then ``reload``
    is the command that reloads it. ``binary`` is the command that is asked to test the configuration.
    ``ask`` (host:port), ``host`` (header) and ``path`` lead our own questions to the unit's location, and
    ``peers`` are the networks they come from. ``cut_after`` is in seconds.
    """

    unit: UnitId
    listen: str
    upstreams: Path
    pid: Path | None
    reload: tuple[str, ...]
    binary: tuple[str, ...]
    conf: str
    prefix: str
    ask: str
    host: str
    path: str
    peers: tuple[str, ...]
    upstream_options: tuple[str, ...]
    split_on: str
    cut_after: float
    log: Path | None
    error_log: Path | None

    @classmethod
    def of(cls, unit: UnitId, values: Mapping[str, Any]) -> Settings:
        """Raises InvalidInput naming the setting that is unknown, missing or wrong."""
        for key in values:
            if key not in KNOWN:
                raise InvalidInput(
                    N_("the driver nginx has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    key=key,
                    known=", ".join(KNOWN),
                )
        read = _Reader(unit, values)
        listen = read.address("listen")
        reload = read.words("reload", ())
        pid = read.path("pid") if "pid" in values or not reload else None
        ask = read.address("ask", reachable(listen))
        return cls(
            unit=unit,
            listen=listen,
            upstreams=read.plain_path("upstreams"),
            pid=pid,
            reload=reload,
            binary=read.words("binary", ("nginx",)),
            conf=read.text("conf", ""),
            prefix=read.text("prefix", ""),
            ask=ask,
            host=read.matching("host", HOST, listen),
            path=read.matching("path", REQUEST_PATH, "/"),
            peers=read.networks("peers", ("127.0.0.0/8", "::1/128", *_own(ask))),
            upstream_options=read.options("upstream_options"),
            split_on=read.matching("split_on", VARIABLES, "$request_id"),
            cut_after=read.seconds("cut_after", 0.5),
            log=read.path("log") if "log" in values else None,
            error_log=read.path("error_log") if "error_log" in values else None,
        )

    @property
    def file(self) -> Path:
        """What nginx includes in its ``http`` block."""
        return self.upstreams / f"{self.unit.slug}.conf"

    @property
    def location(self) -> Path:
        """What nginx includes in the location of the unit."""
        return self.upstreams / f"{self.unit.slug}.location"

    @property
    def link(self) -> Path:
        """The link that says where requests go."""
        return self.upstreams / self.unit.slug

    @property
    def states(self) -> Path:
        """Where the link can point to."""
        return self.upstreams / f".{self.unit.slug}"

    @property
    def variable(self) -> str:
        """The variable that names the upstream of a request, and begins the names of all others."""
        # A dash and a dot have to stay apart: a-b.c and a.b-c are two units.
        name = self.unit.slug.replace("-", "__").replace(".", "_")
        if len(name) > NAME_LENGTH:
            name = f"{name[:11]}_{hashlib.sha256(self.unit.slug.encode()).hexdigest()[:10]}"
        return f"lastgood_{name}"


def reachable(address: str) -> str:
    """The address of this machine under which a listener on all addresses answers."""
    host, _, port = address.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"


def _own(address: str) -> tuple[str, ...]:
    """A question to an address of this machine comes from that address."""
    try:
        return (str(ipaddress.ip_network(address.rpartition(":")[0].strip("[]"))),)
    except ValueError:
        return ()


def valid_address(text: str) -> bool:
    """Whether ``text`` is host:port with a port that can be dialled."""
    match = ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match.group(2)) < 65536


def wrong(unit: UnitId, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver nginx is wrong"), todo=todo, where=str(unit), key=key
    )


def missing(unit: UnitId, key: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver nginx is missing"),
        todo=N_("Add it to the traffic settings of the service."),
        where=str(unit),
        key=key,
    )


@dataclass(frozen=True)
class _Reader:
    """Reads one value at a time. Each raises InvalidInput; without a default the setting is required."""

    unit: UnitId
    values: Mapping[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        if key not in self.values:
            if default is None:
                raise missing(self.unit, key)
            return default
        value = self.values[key]
        if not isinstance(value, (str, Path)) or not str(value):
            raise wrong(self.unit, key, N_("Write a text."))
        return str(value)

    def matching(self, key: str, pattern: re.Pattern[str], default: str) -> str:
        text = self.text(key, default)
        if not pattern.fullmatch(text):
            raise wrong(self.unit, key, N_("Write it as in the README of the driver."))
        return text

    def address(self, key: str, default: str | None = None) -> str:
        text = self.text(key, default)
        if not valid_address(text):
            raise wrong(self.unit, key, N_("Write host:port, for example 127.0.0.1:8080."))
        return text

    def path(self, key: str) -> Path:
        path = Path(self.text(key, DEFAULT_PID if key == "pid" else None))
        if not path.is_absolute():
            raise wrong(self.unit, key, N_("Write an absolute path."))
        return path

    def plain_path(self, key: str) -> Path:
        text = self.text(key)
        if not PLAIN_PATH.fullmatch(text) or ".." in Path(text).parts:
            raise wrong(
                self.unit,
                key,
                N_("Write the absolute path of a directory: letters, digits, dots and dashes."),
            )
        return Path(text)

    def words(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = self.values.get(key, default)
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) and v for v in value):
            raise wrong(self.unit, key, N_("Write a command as a list of words."))
        if key in self.values and not value:
            raise wrong(self.unit, key, N_("Write a command as a list of words."))
        return tuple(value)

    def networks(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = self.values.get(key, default)
        todo = N_("Write a list of addresses or networks, like 127.0.0.0/8.")
        if not isinstance(value, (list, tuple)) or not value:
            raise wrong(self.unit, key, todo)
        try:
            return tuple(str(ipaddress.ip_network(text)) for text in value)
        except ValueError as error:
            raise wrong(self.unit, key, todo) from error

    def options(self, key: str) -> tuple[str, ...]:
        """Lines of an upstream block, taken as they are: nginx itself tests them."""
        value = self.values.get(key, ())
        todo = N_("Write a list of lines for an upstream block, for example: least_conn.")
        if not isinstance(value, (list, tuple)):
            raise wrong(self.unit, key, todo)
        lines = []
        for line in value:
            text = line.strip().removesuffix(";").strip() if isinstance(line, str) else ""
            # Braces or a second statement would end the block and begin another.
            if not text or any(mark in text for mark in "{};#\n") or text.split()[0] == "server":
                raise wrong(self.unit, key, todo)
            lines.append(f"{text};")
        return tuple(lines)

    def seconds(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 60:
            raise wrong(self.unit, key, N_("Write seconds, from 0 to 60."))
        return float(value)


@dataclass(frozen=True)
class SignalSettings:
    """``codes``: statuses that count as bad (``503`` or ``5xx``); ``quantile`` of a gauge, 0..1;
    ``generation``: count only what that generation answered, empty: all requests of the unit.
    """

    codes: tuple[str, ...] = ("5xx",)
    quantile: float = 0.95
    generation: str = ""

    @classmethod
    def of(cls, unit: UnitId, signal: Signal) -> SignalSettings:
        """Raises InvalidInput naming the setting that is unknown or wrong for this kind of signal."""
        own = "codes" if signal.kind is SignalKind.RATIO else "quantile"
        for key in signal.settings:
            if key not in (own, "generation", "target"):  # target: the unit's traffic settings, ours already
                raise InvalidInput(
                    N_("the signal '{name}' has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    name=signal.name,
                    key=key,
                    known=f"{own}, generation",
                )
        generation = signal.settings.get("generation", "")
        if not isinstance(generation, str):
            raise wrong(unit, "generation", N_("Write a text."))
        if own not in signal.settings:
            return cls(generation=generation)
        value = signal.settings[own]
        if signal.kind is SignalKind.RATIO:
            return cls(codes=_codes(unit, value), generation=generation)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise wrong(unit, "quantile", N_("Write a number between 0 and 1, for example 0.95."))
        return cls(quantile=float(value), generation=generation)

    def is_bad(self, code: str) -> bool:
        return code in self.codes or f"{code[:1]}xx" in self.codes


def _codes(unit: UnitId, value: object) -> tuple[str, ...]:
    codes = tuple(str(c) for c in (value if isinstance(value, (list, tuple)) else [value]))
    if not codes or not all(CODE.fullmatch(c) for c in codes):
        raise wrong(unit, "codes", N_("Write a list of statuses that count as bad, like 503 or 5xx."))
    return codes
