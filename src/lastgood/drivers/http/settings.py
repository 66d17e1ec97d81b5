"""Settings of the http driver; a signal's own settings are laid over the driver's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId

KNOWN = ("path", "expect", "contains", "timeout", "target", "url")
STATUS = re.compile(r"[1-5][0-9][0-9]|[1-5]xx")
URL = re.compile(r"https?://[^\s/]+(/\S*)?")
PATH = re.compile(r"/\S*")
LISTEN = re.compile(r"\S+:[0-9]{1,5}")


@dataclass(frozen=True)
class Settings:
    """One probe: GET ``url`` within ``timeout`` seconds, answered with one of ``expect`` (``200`` or
    ``2xx``) and a body that contains ``contains``.
    """

    url: str
    expect: tuple[str, ...] = ("2xx",)
    contains: str = ""
    timeout: float = 2.0

    @classmethod
    def of(cls, unit: UnitId, values: Mapping[str, Any]) -> Settings:
        """Raises InvalidInput naming the setting that is unknown, missing or wrong."""
        for key in values:
            if key not in KNOWN:
                raise InvalidInput(
                    N_("the driver http has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    key=key,
                    known=", ".join(KNOWN),
                )
        contains = values.get("contains", "")
        if not isinstance(contains, str):
            raise _wrong(unit, "contains", N_("Write a text that the body must contain."))
        timeout = values.get("timeout", 2.0)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 60:
            raise _wrong(unit, "timeout", N_("Write seconds, more than 0 and at most 60."))
        return cls(_url(unit, values), _expect(unit, values.get("expect", "2xx")), contains, float(timeout))

    def expects(self, status: int) -> bool:
        return str(status) in self.expect or f"{status // 100}xx" in self.expect


def _wrong(unit: UnitId, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver http is wrong"), todo=todo, where=str(unit), key=key
    )


def _expect(unit: UnitId, value: object) -> tuple[str, ...]:
    codes = tuple(str(c) for c in (value if isinstance(value, (list, tuple)) else [value]))
    if not codes or not all(STATUS.fullmatch(c) for c in codes):
        raise _wrong(unit, "expect", N_("Write a status or a list of them, like 200 or 2xx."))
    return codes


def _url(unit: UnitId, values: Mapping[str, Any]) -> str:
    if "url" in values:
        url = values["url"]
        if not isinstance(url, str) or not URL.fullmatch(url):
            raise _wrong(unit, "url", N_("Write http://host:port/path."))
        if "path" in values:
            raise _wrong(unit, "path", N_("Write the path into 'url', or leave 'url' out."))
        return url
    target = values.get("target")
    if target is None:
        raise InvalidInput(
            N_("the driver http doesn't know whom to ask"),
            todo=N_("Add 'url', or give the unit traffic settings with 'listen'."),
            where=str(unit),
        )
    listen = target.get("listen") if isinstance(target, Mapping) else None
    if not isinstance(listen, str) or not LISTEN.fullmatch(listen):
        raise _wrong(unit, "target", N_("It needs 'listen' as host:port."))
    path = values.get("path", "/")
    if not isinstance(path, str) or not PATH.fullmatch(path):
        raise _wrong(unit, "path", N_("Write a path that begins with a slash."))
    host, _, port = listen.rpartition(":")
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"http://{everywhere.get(host, host)}:{port}{path}"
