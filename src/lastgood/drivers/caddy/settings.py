"""Settings of the caddy driver and of its signals."""

from __future__ import annotations

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
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Settings:
    """One unit behind one Caddy.

    ``admin`` is ``http://host:port`` or the absolute path of a unix socket; ``listen`` is host:port of
    the unit; ``pointers`` is an absolute directory that Caddy can read; ``server`` names the unit's server
    in Caddy's configuration; ``generation_header`` makes each response carry ``X-Lastgood-Generation``.
    """

    admin: str
    listen: str
    pointers: Path
    server: str
    unit: UnitId
    generation_header: bool = False

    @property
    def pointer(self) -> Path:
        """The file that says where this unit's requests go."""
        return self.pointers / self.unit.slug

    @classmethod
    def of(cls, unit: UnitId, values: Mapping[str, Any]) -> Settings:
        """Raises InvalidInput naming the setting that is unknown, missing or wrong."""
        known = ("admin", "listen", "pointers", "server", "generation_header")
        for key in values:
            if key not in known:
                raise InvalidInput(
                    N_("the driver caddy has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    key=key,
                    known=", ".join(known),
                )
        header = values.get("generation_header", False)
        if not isinstance(header, bool):
            raise _wrong(unit, "generation_header", N_("Write true or false."))
        return cls(
            admin=_admin(unit, _text(unit, values, "admin")),
            listen=_listen(unit, _text(unit, values, "listen")),
            pointers=_pointers(unit, _text(unit, values, "pointers")),
            server=_server(unit, values.get("server", f"lastgood-{unit.slug}")),
            unit=unit,
            generation_header=header,
        )


def valid_address(text: str) -> bool:
    """Whether ``text`` is host:port with a port that can be dialled."""
    match = ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match.group(2)) < 65536


def _wrong(unit: UnitId, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver caddy is wrong"), todo=todo, where=str(unit), key=key
    )


def _text(unit: UnitId, values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        raise InvalidInput(
            N_("the setting '{key}' of the driver caddy is missing"),
            todo=N_("Add it to the traffic settings of the service."),
            where=str(unit),
            key=key,
        )
    value = values[key]
    if not isinstance(value, (str, Path)) or not str(value):
        raise _wrong(unit, key, N_("Write a text."))
    return str(value)


def _admin(unit: UnitId, text: str) -> str:
    socket = text.removeprefix("unix/")
    if socket.startswith("/"):
        return socket
    address = text.removeprefix("http://").rstrip("/")
    if not text.startswith("http://") or not valid_address(address):
        raise _wrong(unit, "admin", N_("Write http://host:port or the absolute path of a unix socket."))
    return f"http://{address}"


def _listen(unit: UnitId, text: str) -> str:
    if not valid_address(text):
        raise _wrong(unit, "listen", N_("Write host:port, for example 127.0.0.1:8080."))
    return text


def _pointers(unit: UnitId, text: str) -> Path:
    path = Path(text)
    # The path becomes part of a placeholder, which a brace would end.
    if not path.is_absolute() or "{" in text or "}" in text or ".." in path.parts:
        raise _wrong(unit, "pointers", N_("Write the absolute path of a directory, without braces."))
    return path


def _server(unit: UnitId, value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise _wrong(unit, "server", N_("Use letters, digits, dots, dashes and underscores."))
    return value


@dataclass(frozen=True)
class SignalSettings:
    """``codes``: statuses that count as bad (``503`` or ``5xx``); ``quantile`` of a gauge, 0..1."""

    codes: tuple[str, ...] = ("5xx",)
    quantile: float = 0.95

    @classmethod
    def of(cls, unit: UnitId, signal: Signal) -> SignalSettings:
        """Raises InvalidInput naming the setting that is unknown or wrong for this kind of signal."""
        known = "codes" if signal.kind is SignalKind.RATIO else "quantile"
        for key in signal.settings:
            if key not in (known, "target"):  # target: the unit's traffic settings, ours already
                raise InvalidInput(
                    N_("the signal '{name}' has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    name=signal.name,
                    key=key,
                    known=known,
                )
        if known not in signal.settings:
            return cls()
        value = signal.settings[known]
        if signal.kind is SignalKind.RATIO:
            return cls(codes=_codes(unit, value))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise _wrong(unit, "quantile", N_("Write a number between 0 and 1, for example 0.95."))
        return cls(quantile=float(value))

    def is_bad(self, code: str) -> bool:
        return code in self.codes or f"{code[:1]}xx" in self.codes


def _codes(unit: UnitId, value: object) -> tuple[str, ...]:
    codes = tuple(str(c) for c in (value if isinstance(value, (list, tuple)) else [value]))
    if not codes or not all(CODE.fullmatch(c) for c in codes):
        raise _wrong(unit, "codes", N_("Write a list of statuses that count as bad, like 503 or 5xx."))
    return codes
