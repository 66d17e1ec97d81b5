"""What every test lives under: no address but loopback, and properties without a stopwatch."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


def _only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple) or address[0] in ("", "localhost"):
        return
    try:
        outside = not ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        outside = True
    if outside:
        raise PermissionError(f"a test tried to reach {address[0]}: tests talk to loopback only")


sys.addaudithook(_only_loopback)
