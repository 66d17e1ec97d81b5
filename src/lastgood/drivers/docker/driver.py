"""The driver of one unit, if the SDK is there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.ports.content import DriverTools


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """Raises InvalidInput naming the wrong setting, or what has to be installed. No engine is asked yet."""
    parsed = DockerSettings.parse(settings, str(unit))
    if find_spec("docker") is None:
        raise InvalidInput(
            N_("the driver docker needs the Docker SDK, which is not installed"),
            todo=N_("Run {command} where lastgood is installed."),
            where=str(unit),
            command="pip install 'lastgood[docker]'",
        )
    from lastgood.drivers.docker.runtime import DockerRuntime

    return DockerRuntime(unit, parsed, tools)
