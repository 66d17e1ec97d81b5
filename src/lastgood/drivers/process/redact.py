"""Which secrets a generation was started with, so that their values can be taken out of its logs."""

from __future__ import annotations

from typing import Any

from lastgood.domain.errors import DriverError
from lastgood.domain.redactor import Redactor
from lastgood.domain.release import SecretVersion
from lastgood.ports.content import Vault


def redactor_for(spec: dict[str, Any], vault: Vault) -> Redactor:
    try:
        return Redactor({s.name: vault.unseal(s) for s in secrets_of(spec)})
    except DriverError:
        return Redactor(None)


def secrets_of(spec: dict[str, Any]) -> tuple[SecretVersion, ...]:
    return tuple(SecretVersion(name, version) for name, version in spec.get("secrets", ()))
