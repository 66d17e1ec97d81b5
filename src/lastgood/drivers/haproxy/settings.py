"""Settings of the haproxy driver and of its signals."""

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
SOCKET = re.compile(r"/[^\s,:!'\"\\]+")
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
"""What HAProxy takes as the name of a backend."""
PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}")
CLASS = re.compile(r"[1-5]xx")
KNOWN = ("sockets", "listen", "backend", "slots", "state", "check_wait", "cut_grace")
LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class Settings:
    """One unit behind one HAProxy, or behind several that are the same.

    ``sockets`` are absolute paths of unix sockets or host:port, of the runtime API of each HAProxy;
    ``listen`` is host:port at which customers reach the unit; ``slots`` is how the names of the unit's server
    slots in ``backend`` begin; ``state`` is an absolute directory that HAProxy can read when it starts.
    Seconds: ``check_wait`` until a new server has passed HAProxy's own check, ``cut_grace`` for open
    requests before a cut ends them.
    """

    unit: UnitId
    sockets: tuple[str, ...]
    listen: str
    backend: str
    slots: str
    state: Path
    check_wait: float = 10.0
    cut_grace: float = 0.5

    @property
    def state_file(self) -> Path:
        """What HAProxy loads when it starts: the servers as they were left."""
        return self.state / f"{self.unit.slug}.state"

    @property
    def record_file(self) -> Path:
        """Which generation is behind which slot."""
        return self.state / f"{self.unit.slug}.json"

    def is_slot(self, name: str) -> bool:
        return name.startswith(self.slots) and name[len(self.slots) :].isdigit()

    @classmethod
    def of(cls, unit: UnitId, values: Mapping[str, Any], directory: Path | None = None) -> Settings:
        """``directory`` is where the state lies when no setting says so.

        Raises InvalidInput naming the setting that is unknown, missing or wrong.
        """
        for key in values:
            if key not in KNOWN:
                raise InvalidInput(
                    N_("the driver haproxy has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    key=key,
                    known=", ".join(KNOWN),
                )
        return cls(
            unit=unit,
            sockets=_sockets(unit, _required(unit, values, "sockets")),
            listen=_listen(unit, _required(unit, values, "listen")),
            backend=_matching(unit, values, "backend", NAME, unit.slug),
            slots=_matching(unit, values, "slots", PREFIX, "lg"),
            state=_state(unit, _required(unit, {"state": directory, **values}, "state")),
            check_wait=_seconds(unit, values, "check_wait", cls.check_wait),
            cut_grace=_seconds(unit, values, "cut_grace", cls.cut_grace),
        )


def valid_address(text: str) -> bool:
    """Whether ``text`` is host:port with a port that can be dialled."""
    match = ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match.group(2)) < 65536


def _wrong(unit: UnitId, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver haproxy is wrong"), todo=todo, where=str(unit), key=key
    )


def _required(unit: UnitId, values: Mapping[str, Any], key: str) -> object:
    if values.get(key) is None:
        raise InvalidInput(
            N_("the setting '{key}' of the driver haproxy is missing"),
            todo=N_("Add it to the traffic settings of the service."),
            where=str(unit),
            key=key,
        )
    return values[key]


def _sockets(unit: UnitId, value: object) -> tuple[str, ...]:
    given = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    sockets = tuple(str(s) for s in given if isinstance(s, (str, Path)))
    right = [s for s in sockets if SOCKET.fullmatch(s) or valid_address(s)]
    if not right or len(right) != len(given) or len(set(right)) != len(right):
        raise _wrong(unit, "sockets", N_("Write a list: absolute paths of unix sockets, or host:port."))
    return sockets


def _listen(unit: UnitId, value: object) -> str:
    if not isinstance(value, str) or not valid_address(value):
        raise _wrong(unit, "listen", N_("Write host:port, for example 127.0.0.1:8080."))
    return value


def _matching(
    unit: UnitId, values: Mapping[str, Any], key: str, pattern: re.Pattern[str], default: str
) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(unit, key, N_("Use letters, digits, dots, dashes and underscores."))
    return value


def _state(unit: UnitId, value: object) -> Path:
    path = Path(value) if isinstance(value, (str, Path)) else Path()
    if not path.is_absolute() or ".." in path.parts or any(c.isspace() or c in "\"'\\#$" for c in str(path)):
        raise _wrong(unit, "state", N_("Write the absolute path of a directory, without spaces or quotes."))
    return path


def _seconds(unit: UnitId, values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_WAIT:
        raise _wrong(unit, key, N_("Write seconds, from 0 to 600."))
    return float(value)


@dataclass(frozen=True)
class SignalSettings:
    """``codes``: classes of status that count as bad (``5xx``); ``generation``: only its servers count."""

    codes: tuple[str, ...] = ("5xx",)
    generation: str = ""

    @classmethod
    def of(cls, unit: UnitId, signal: Signal) -> SignalSettings:
        """Raises InvalidInput naming the setting that is unknown or wrong for this kind of signal."""
        known = ("codes", "generation") if signal.kind is SignalKind.RATIO else ("generation",)
        for key in signal.settings:
            if key not in (*known, "target"):  # target: the unit's traffic settings, ours already
                raise InvalidInput(
                    N_("the signal '{name}' has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    name=signal.name,
                    key=key,
                    known=", ".join(known),
                )
        generation = signal.settings.get("generation", "")
        if not isinstance(generation, str):
            raise _wrong(unit, "generation", N_("Write the name of a generation."))
        codes = signal.settings.get("codes", cls.codes)
        return cls(_codes(unit, codes), generation)


def _codes(unit: UnitId, value: object) -> tuple[str, ...]:
    codes = tuple(str(c) for c in (value if isinstance(value, (list, tuple)) else [value]))
    if not codes or not all(CLASS.fullmatch(c) for c in codes):
        raise _wrong(unit, "codes", N_("Write a list of classes like 5xx; HAProxy counts no others."))
    return codes
