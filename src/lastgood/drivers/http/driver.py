"""Signals by probing: each look at a signal is one GET."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.observation import EvidenceItem
from lastgood.domain.unit import UnitId
from lastgood.drivers.http.settings import Settings
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Reading

BODY_LIMIT = 1 << 20
EVIDENCE_BYTES = 4096
HIDDEN = {"set-cookie", "authorization"}


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> HttpDriver:
    """Entry point. Raises InvalidInput naming the wrong or missing setting."""
    return HttpDriver(unit, settings)


@dataclass(frozen=True)
class Probe:
    """One GET: ``error`` is empty when it was answered as expected; ``milliseconds`` to the last byte."""

    error: str
    milliseconds: float
    answered: bool = False
    head: str = ""
    body: bytes = b""


class HttpDriver:
    """Measures and GivesEvidence of one unit.

    A probe without an answer counts as a bad one for a ratio, because nobody was served; it carries no
    ``error``, which would call it no data. For a gauge it is no reading.
    """

    def __init__(self, unit: UnitId, settings: Mapping[str, Any]) -> None:
        self._unit = unit
        self._values = dict(settings)
        # A signal may bring the address; then there is nothing whole to check yet.
        if settings.keys() & {"url", "target"}:
            Settings.of(unit, settings)

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """Raises InvalidInput for a wrong setting; asks nothing."""
        self._settings(signal)
        return {"good": 0, "total": 0}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """One probe. ratio: probes answered as expected of all; gauge: milliseconds of this one."""
        probe = send(self._settings(signal))
        good = int(cursor.get("good", 0)) + (not probe.error)
        total = int(cursor.get("total", 0)) + 1
        after = {"good": good, "total": total}
        if signal.kind is SignalKind.GAUGE:
            value = probe.milliseconds if probe.answered else None
            return Reading(after, value=value, error="" if probe.answered else probe.error)
        return Reading(after, good, total)

    def evidence(self) -> Sequence[EvidenceItem]:
        """One response: status, headers without cookies, the body's first 4 KiB; or why there is none."""
        settings = Settings.of(self._unit, self._values)
        probe = send(settings)
        head = f"GET {settings.url} took {probe.milliseconds:.1f} ms\n"
        told = f"{probe.error}\n" if probe.error else ""
        text = (head + told + probe.head + "\n").encode() + probe.body[:EVIDENCE_BYTES]
        return (EvidenceItem("http-response.txt", text),)

    def _settings(self, signal: Signal) -> Settings:
        return Settings.of(self._unit, {**self._values, **signal.settings})


def send(settings: Settings) -> Probe:
    """One GET on a connection of its own; never raises for what the target does."""
    started = time.monotonic()
    deadline = started + settings.timeout
    try:
        with (
            httpx.Client(timeout=settings.timeout, trust_env=False, verify=_verify(settings)) as client,
            client.stream("GET", settings.url) as answer,
        ):
            body = _read(answer, deadline)
    except httpx.TimeoutException:
        return Probe(f"no answer within {settings.timeout:g} s", _since(started))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Probe(str(error) or type(error).__name__, _since(started))
    complaint = _complaint(settings, answer.status_code, body)
    head = "".join(
        f"{key}: {'(hidden)' if key.lower() in HIDDEN else value}\n"
        for key, value in answer.headers.multi_items()
    )
    return Probe(
        complaint, _since(started), True, f"{answer.http_version} {answer.status_code}\n{head}", body
    )


def _verify(settings: Settings) -> bool:
    # Loading the certificates takes 20 ms, which plain HTTP has no use for.
    return settings.url.startswith("https:")


def _read(answer: httpx.Response, deadline: float) -> bytes:
    """At most 1 MiB; httpx limits each read, so that a slow drip would never end by itself."""
    body = b""
    for part in answer.iter_bytes():
        body += part
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("deadline")
        if len(body) >= BODY_LIMIT:
            break
    return body


def _complaint(settings: Settings, status: int, body: bytes) -> str:
    if not settings.expects(status):
        return f"status {status}, expected {' or '.join(settings.expect)}"
    if settings.contains and settings.contains.encode() not in body:
        return "the body does not contain the expected text"
    return ""


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000.0
