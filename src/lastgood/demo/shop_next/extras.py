"""New in release 2: an order can carry a gift note."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

RELEASE = os.environ.get("SHOP_RELEASE", "2")
FORM = '<label class="gift">🎁 <input id="gift" maxlength="200" placeholder="Gift note"></label>'


def keep(connection: Any, order: int, request: Mapping[str, Any]) -> None:
    """Called inside the transaction that records ``order``."""
    note = str(request.get("gift_note") or "").strip()[:200]
    if note:
        connection.execute("insert into gift_notes (order_id, note) values (%s, %s)", (order, note))
        connection.execute("update orders set gift_wrap = true where id = %s", (order,))
