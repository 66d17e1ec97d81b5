"""How containers are named, and the labels by which they are found again after anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lastgood.domain.digest import short
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import Role, UnitId

PREFIX = "dev.lastgood."
UNIT, GENERATION, ROLE = f"{PREFIX}unit", f"{PREFIX}generation", f"{PREFIX}role"
INSTANCE, REPLICAS = f"{PREFIX}instance", f"{PREFIX}replicas"
SPEC = f"{PREFIX}spec"
"""Digest of all that the container was made from; another one means that it was made for something else."""
PORT = f"{PREFIX}port"
"""The port of the engine's machine under which it is reached."""
GRACE = f"{PREFIX}grace"
SECRETS = f"{PREFIX}secrets"
"""Names and versions, never values."""
HOLDS = f"{PREFIX}holds"
"""Digest of the image that a container, never started, protects from being pruned."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def instance_name(unit: UnitId, generation: str, role: Role, number: int) -> str:
    """``lastgood.storefront.prod.us.3f1c8d2e9a0b.web.1``. Raises InvalidInput for what can't be a name."""
    name = short(generation) if generation.startswith("sha256:") else generation
    name = name.removeprefix(f"{unit.slug}-")
    if not NAME.fullmatch(name):
        raise InvalidInput(
            N_("'{generation}' is not the name of a generation"), where=str(unit), generation=generation
        )
    return f"lastgood.{unit.slug}.{name}.{role.value}.{number}"


def hold_name(unit: UnitId, manifest: str) -> str:
    return f"lastgood.hold.{unit.slug}.{short(manifest)}"


def of_unit(unit: UnitId) -> list[str]:
    """The labels to ask for; holds are among what is found."""
    return [f"{UNIT}={unit}"]


def secrets_label(secrets: Sequence[SecretVersion]) -> str:
    return json.dumps([[s.name, s.version] for s in secrets])


def secrets_of(labels: Mapping[str, Any]) -> tuple[SecretVersion, ...]:
    """Empty when the label is missing or was written by somebody else."""
    try:
        return tuple(SecretVersion(str(name), str(version)) for name, version in json.loads(labels[SECRETS]))
    except (KeyError, ValueError, TypeError):
        return ()
