"""Takes secret values out of logs before they leave where they were written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

WITHHELD = b"withheld: the sealed secrets could not be read, so that nothing could be taken out of this log\n"


class Redactor:
    """Knows the values of a generation's secrets, as they are and in the forms they are often printed in.

    ``values`` by name; None when they could not be read.
    """

    def __init__(self, values: Mapping[str, str] | None) -> None:
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


def _forms(value: str) -> Iterable[bytes]:
    raw = value.encode()
    if raw:
        yield from (raw, quote(value, safe="").encode(), repr(value)[1:-1].encode())
        yield from (json.dumps(value)[1:-1].encode(), base64.b64encode(raw), base64.b64encode(raw + b"\n"))
    if "\n" in value:  # a key may be logged line by line
        yield from (line for line in raw.splitlines() if len(line) >= 8)
