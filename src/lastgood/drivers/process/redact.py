"""Takes secret values out of logs before they leave the machine's own files."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from lastgood.domain.errors import DriverError
from lastgood.domain.release import SecretVersion
from lastgood.ports.content import Vault

WITHHELD = b"withheld: the sealed secrets could not be read, so that nothing could be taken out of this log\n"


class Redactor:
    """Knows the values of a generation's secrets, as they are and in the forms they are often printed in."""

    def __init__(self, values: dict[str, str] | None) -> None:
        self._withhold = values is None
        forms = {form: name for name, value in (values or {}).items() for form in _forms(value)}
        self._forms = sorted(forms.items(), key=lambda item: -len(item[0]))

    @property
    def longest(self) -> int:
        return max((len(form) for form, _ in self._forms), default=0)

    def clean(self, content: bytes) -> bytes:
        """``content`` with every value replaced by ``[secret NAME]``; withheld when values are unknown."""
        if self._withhold:
            return WITHHELD
        for form, name in self._forms:
            content = content.replace(form, f"[secret {name}]".encode())
        return content


def redactor_for(spec: dict[str, Any], vault: Vault) -> Redactor:
    try:
        return Redactor({s.name: vault.unseal(s) for s in secrets_of(spec)})
    except DriverError:
        return Redactor(None)


def secrets_of(spec: dict[str, Any]) -> tuple[SecretVersion, ...]:
    return tuple(SecretVersion(name, version) for name, version in spec.get("secrets", ()))


def _forms(value: str) -> Iterable[bytes]:
    raw = value.encode()
    escaped = repr(value)[1:-1].encode()
    yield from (f for f in (raw, quote(value, safe="").encode(), base64.b64encode(raw), escaped) if f)
    if "\n" in value:  # a key may be logged line by line
        yield from (line for line in raw.splitlines() if len(line) >= 8)
