"""What a root-cause analysis will want of the engine: logs, states, events, and no value of a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from lastgood.domain.errors import DriverError
from lastgood.domain.observation import EvidenceItem
from lastgood.domain.redactor import Redactor
from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker import labels
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.instance import Instance, inspected
from lastgood.ports.content import Vault

LATELY = 24 * 3600.0
LINES = 2000
EVENTS_SECONDS = 3600.0
DISK_SECONDS = 5.0


def redactor_for(secrets: Sequence[SecretVersion], vault: Vault) -> Redactor:
    """Without the key nothing can be taken out, and so nothing is let out."""
    try:
        return Redactor({s.name: vault.unseal(s) for s in secrets})
    except DriverError:
        return Redactor(None)


class Evidence:
    def __init__(self, unit: UnitId, engine: Engine, vault: Vault) -> None:
        self._unit = unit
        self._engine = engine
        self._vault = vault

    def collect(self, instances: Sequence[Instance]) -> Iterator[EvidenceItem]:
        """Of those that run or ended within a day; then of the engine."""
        for one in instances:
            found = self._engine.inspect(one.id)
            if found is None:
                continue
            seen = inspected(found)
            if seen.is_active or self._engine.now() - max(seen.ended, seen.created) < LATELY:
                yield from self._of(seen, found)
        since = self._engine.now() - EVENTS_SECONDS
        for name, ask in (
            ("events", lambda: self._engine.events({"label": labels.of_unit(self._unit)}, since)),
            ("info", self._engine.info),
            ("disk", lambda: self._engine.disk(DISK_SECONDS)),
        ):
            yield EvidenceItem(f"engine/{name}.json", _answer(ask))

    def _of(self, seen: Instance, found: Mapping[str, Any]) -> Iterator[EvidenceItem]:
        name = f"{seen.generation}/{seen.role.value}"
        name += f".{seen.number}" if seen.replicas > 1 else ""
        secrets = labels.secrets_of(seen.labels)
        redactor = redactor_for(secrets, self._vault)
        yield EvidenceItem(f"{name}.log", redactor.clean(self._engine.logs(seen.id, LINES, timestamps=True)))
        yield EvidenceItem(f"{name}.inspect.json", _text(without_secrets(found, {s.name for s in secrets})))


def without_secrets(found: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """What the engine says of a container, without the values of secrets: also what its check printed may
    hold one.
    """
    config, state = dict(found["Config"]), dict(found["State"])
    config["Env"] = [_masked(line, names) for line in config["Env"] or ()]
    return {**found, "Config": config, "State": {key: state[key] for key in state if key != "Health"}}


def _masked(line: str, names: Container[str]) -> str:
    name = line.partition("=")[0]
    return f"{name}=[secret {name}]" if name in names else line


def _answer(ask: Callable[[], object]) -> bytes:
    """What can't be had is noted, and costs nobody the rest."""
    try:
        return _text(ask())
    except DriverError as error:
        return _text({"missing": str(error)})


def _text(data: object) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
