"""The payment provider, as far as a shop sees one; it lives in this process and moves no money."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping


def challenge_id(reference: str, last_four: str) -> str:
    """How the provider names a 3-D Secure challenge: it is bound to the payment and to the card."""
    return hashlib.sha256(f"{reference}/{last_four}".encode()).hexdigest()[:24]


class Provider:
    """``latency_ms`` is how long an answer takes."""

    def __init__(self, latency_ms: float = 4.0) -> None:
        self._latency = latency_ms / 1000

    def charge(self, request: Mapping[str, str], timeout_ms: float) -> dict[str, str]:
        """``{"status": "captured", "id": …}`` or ``{"status": "declined", "reason": …}``.

        The same reference is charged once, whatever the number of requests. Raises TimeoutError.
        """
        wait = min(self._latency, timeout_ms / 1000)
        time.sleep(wait)
        if wait < self._latency:
            raise TimeoutError("the payment provider did not answer in time")
        if not request.get("signature"):
            return {"status": "declined", "reason": "the request is not signed"}
        challenge = request.get("challenge", "")
        if challenge and challenge != challenge_id(request["reference"], request["card"][-4:]):
            return {"status": "declined", "reason": "the challenge does not belong to this card"}
        return {
            "status": "captured",
            "id": "pay_" + hashlib.sha256(request["reference"].encode()).hexdigest()[:20],
        }
