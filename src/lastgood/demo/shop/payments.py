"""The payment client of release 1: one signed request, no challenge."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Protocol


class PaymentFailed(Exception):
    """The customer's money was not taken; the text says why and holds no card number."""


class Acquirer(Protocol):
    def charge(self, request: Mapping[str, str], timeout_ms: float) -> dict[str, str]: ...


class PaymentClient:
    """``settings`` is the ``[payment]`` table of the configuration."""

    def __init__(self, settings: Mapping[str, Any], key: str, provider: Acquirer) -> None:
        self._settings = settings
        self._key = key.encode()
        self._provider = provider

    def pay(self, reference: str, amount: int, currency: str, card: str) -> str:
        """Take the money and return the payment's id. Raises PaymentFailed."""
        request = {
            "reference": reference,
            "amount": str(amount),
            "currency": currency,
            "card": card,
            "capture": str(self._settings.get("capture", "automatic")),
            "signature": hmac.new(self._key, f"{reference}:{amount}".encode(), hashlib.sha256).hexdigest(),
        }
        try:
            answer = self._provider.charge(request, float(self._settings.get("timeout_ms", 1000)))
        except TimeoutError as problem:
            raise PaymentFailed(str(problem)) from problem
        if answer["status"] != "captured":
            raise PaymentFailed(answer["reason"])
        return answer["id"]
