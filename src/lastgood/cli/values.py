"""Values of configuration as people write them."""

from __future__ import annotations

import json
from typing import Any

from lastgood.domain.digest import plain


def shown(value: Any) -> str:
    """Text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
