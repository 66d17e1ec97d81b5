"""The settings of the process driver."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.message import N_

KNOWN = ("root", "ports", "host", "user")


@dataclass(frozen=True)
class ProcessSettings:
    """``root``: absolute directory. ``ports``: lowest and highest port, None for the kernel's choice.

    ``host``: the address that ``web`` listens on. ``user``: whom the children run as, ``""`` for the
    user of lastgood.
    """

    root: Path
    ports: tuple[int, int] | None = None
    host: str = "127.0.0.1"
    user: str = ""

    @classmethod
    def parse(cls, settings: Mapping[str, Any], where: str) -> ProcessSettings:
        """Raises InvalidInput naming the wrong, missing or unknown setting."""
        for key in sorted(set(settings) - set(KNOWN)):
            raise InvalidInput(
                N_("the process driver has no setting '{key}'"),
                todo=N_("Remove it; the settings are {known}."),
                where=where,
                key=key,
                known=", ".join(KNOWN),
            )
        root, host, user = settings.get("root"), settings.get("host", "127.0.0.1"), settings.get("user", "")
        if not isinstance(root, str) or not root.startswith("/") or "\0" in root:
            raise _wrong(where, "root", root, "an absolute directory such as /srv/lastgood")
        if not isinstance(host, str) or not _is_address(host):
            raise _wrong(where, "host", host, "an IPv4 address of this machine such as 127.0.0.1")
        if not isinstance(user, str) or (user and not _is_user(user)):
            raise _wrong(where, "user", user, "a user of this machine")
        return cls(Path(root), _ports(settings.get("ports"), where), host, user)

    def identity(self) -> dict[str, Any] | None:
        """Numbers of the user to become, None to stay. Raises Rejected when this process may not."""
        if not self.user:
            return None
        entry = pwd.getpwnam(self.user)
        if os.geteuid() == entry.pw_uid:
            return None
        if os.geteuid() != 0:
            raise Rejected(
                N_("only root can run processes as {user}"),
                todo=N_("Run lastgood as root or as {user}, or remove the setting user."),
                cause=Cause.PERMISSION,
                user=self.user,
            )
        groups = sorted(os.getgrouplist(self.user, entry.pw_gid))
        return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups, "home": entry.pw_dir}


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _ports(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    if (
        len(numbers) != 2
        or not all(type(n) is int and 0 < n < 65536 for n in numbers)
        or numbers[0] > numbers[1]
    ):
        raise _wrong(where, "ports", value, "two port numbers, the lowest and the highest")
    return numbers[0], numbers[1]


def _wrong(where: str, key: str, value: Any, wanted: str) -> InvalidInput:
    return InvalidInput(
        N_("setting '{key}' of the process driver must be {wanted}, not {value}"),
        todo=N_("Correct it where the release names its runtime."),
        where=where,
        key=key,
        wanted=wanted,
        value=repr(value),
    )
