"""The servers of a backend as HAProxy tells them. No I/O."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

STATE_VERSION = "1"
"""Of the format of ``show servers state``."""
FORCED_MAINT, INHERITED_MAINT, UNRESOLVED = 0x01, 0x02, 0x20
FORCED_DRAIN, INHERITED_DRAIN = 0x08, 0x10
STOPPED = 0
CHECK_CONFIGURED, CHECK_ENABLED = 0x02, 0x04
BACKEND = "BACKEND"
"""How the row of the backend itself is called among its servers'."""


class Admin(str, Enum):
    """What somebody set: takes requests, only those of known visitors, or none."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True)
class Server:
    """One server. ``weight`` is the one set (0 to 256), ``initial`` the one in the configuration;
    ``health`` counts passed checks up to ``full``, None while checks rest; ``named`` when its address in the
    configuration is a name; ``sessions`` are open or queued; ``row`` is its line of ``show stat``.
    """

    name: str
    address: str
    admin: Admin
    weight: int
    initial: int
    up: bool
    checks: bool
    named: bool
    row: Mapping[str, str] = field(default_factory=dict)

    @property
    def receives(self) -> bool:
        """Whether new requests are meant for it; health aside, as a pointer to a dead server is one."""
        return self.admin is Admin.READY and self.weight > 0 and not self.backup

    @property
    def backup(self) -> bool:
        return self.row.get("bck") == "1"

    @property
    def sessions(self) -> int:
        return _number(self.row, "scur") + _number(self.row, "qcur")

    @property
    def full(self) -> int | None:
        rise, fall = _number(self.row, "check_rise"), _number(self.row, "check_fall")
        return rise + fall - 1 if rise and fall else None

    @property
    def passed(self) -> bool:
        """Whether HAProxy's own check passed since it left maintenance; True where it isn't checked."""
        full = self.full
        return not self.checks or (self.up and full is not None and _number(self.row, "check_health") >= full)

    @property
    def first_pass_shows(self) -> bool:
        """False where a server out of maintenance counts as fully healthy before its first check."""
        return self.full is None or self.full > _number(self.row, "check_rise")

    @property
    def check_text(self) -> str:
        parts = (self.row.get("check_status", ""), self.row.get("last_chk", ""))
        return ": ".join(part for part in parts if part) or "no check has ended yet"


@dataclass(frozen=True)
class View:
    """One look at a backend. ``process`` names the run of HAProxy whose counters these are;
    ``stopping`` when an old process answered that nobody sends requests to any more; ``state`` is the text of
    ``show servers state``; ``backend`` the backend's own line of ``show stat``.
    """

    socket: str
    process: str
    version: str
    stopping: bool
    servers: Mapping[str, Server]
    backend: Mapping[str, str]
    state: str


class Unreadable(ValueError):
    """The answer is not what HAProxy 2.6 or later says."""


def parse(socket: str, backend: str, text: str) -> View:
    """The answers to ``show info; show servers state B; show stat B 6 -1``, the last one with other proxies
    or not. Raises Unreadable.
    """
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    info = next((b for b in blocks if b.startswith("Name: ")), "")
    state = next((b for b in blocks if b.startswith(f"{STATE_VERSION}\n#")), "")
    stat = next((b for b in blocks if b.startswith("# pxname,")), "")
    if not info or not state or not stat:
        raise Unreadable(text[:300])
    facts = dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)
    told = csv.DictReader(io.StringIO(stat.removeprefix("# ")))
    rows = {row["svname"]: row for row in told if row["pxname"] == backend}
    if BACKEND not in rows:
        raise Unreadable(text[:300])
    return View(
        socket=socket,
        process=f"{facts.get('Pid', '')} {facts.get('Start_time_sec', '')}".strip(),
        version=facts.get("Version", ""),
        stopping=facts.get("Stopping", "0") != "0",
        servers={name: _server(fields, rows.get(name, {})) for name, fields in state_fields(state).items()},
        backend=rows[BACKEND],
        state=state + "\n",
    )


def state_fields(state: str) -> dict[str, dict[str, str]]:
    """The lines of ``show servers state`` by server name."""
    lines = state.splitlines()
    if len(lines) < 2 or lines[0] != STATE_VERSION:
        return {}
    columns = lines[1].lstrip("# ").split()
    parsed = [dict(zip(columns, line.split(), strict=False)) for line in lines[2:] if line.strip()]
    return {fields["srv_name"]: fields for fields in parsed if "srv_name" in fields}


def routing(state: str) -> dict[str, tuple[str, Admin, int]]:
    """(address, admin, weight) by server name: what of it decides where requests go."""
    return {
        name: (_address(fields), _admin(int(fields["srv_admin_state"])), int(fields["srv_uweight"]))
        for name, fields in state_fields(state).items()
    }


def same_address(one: str, other: str) -> bool:
    """Whether both are the same host:port, whatever way an IPv6 address is written."""
    return one == other or _normal(one) == _normal(other)


def host_and_port(address: str) -> tuple[str, str] | None:
    """IP and port of ``host:port``; None when the host is no IP address."""
    host, _, port = address.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), port
    except ValueError:
        return None


def _normal(address: str) -> tuple[str, str]:
    return host_and_port(address) or (address, "")


def _server(fields: Mapping[str, str], row: Mapping[str, str]) -> Server:
    check = int(fields["srv_check_state"])
    return Server(
        name=fields["srv_name"],
        address=_address(fields),
        admin=_admin(int(fields["srv_admin_state"])),
        weight=int(fields["srv_uweight"]),
        initial=int(fields["srv_iweight"]),
        up=int(fields["srv_op_state"]) != STOPPED,
        checks=bool(check & CHECK_CONFIGURED) and bool(check & CHECK_ENABLED),
        named=fields.get("srv_fqdn", "-") != "-",
        row=row,
    )


def _address(fields: Mapping[str, str]) -> str:
    host = fields["srv_addr"]
    return f"[{host}]:{fields['srv_port']}" if ":" in host else f"{host}:{fields['srv_port']}"


def _admin(bits: int) -> Admin:
    if bits & (FORCED_MAINT | INHERITED_MAINT | UNRESOLVED):
        return Admin.MAINT
    return Admin.DRAIN if bits & (FORCED_DRAIN | INHERITED_DRAIN) else Admin.READY


def _number(row: Mapping[str, str], key: str) -> int:
    text = row.get(key) or ""
    return int(text) if text.isdigit() else 0
