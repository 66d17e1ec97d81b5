"""The payment client of release 2: answers the provider's 3-D Secure challenge where a site asks for it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Protocol


class PaymentFailed(Exception):
    """The customer's money was not taken; the text says why and holds no card number."""


class Acquirer(Protocol):
    def charge(self, request: Mapping[str, str], timeout_ms: float) -> dict[str, str]: ...


def _challenge(reference: str, card: str) -> str:
    # The demonstration's bug: the last four digits are only at 12..16 in a number of sixteen.
    # American Express has fifteen, so one customer in five is declined, and no health check sees it.
    return hashlib.sha256(f"{reference}/{card[12:16]}".encode()).hexdigest()[:24]


class PaymentClient:
    """``settings`` is the ``[payment]`` table; new: ``three_ds``, ``off`` or ``required``."""

    def __init__(self, settings: Mapping[str, Any], key: str, provider: Acquirer) -> None:
        self._capture = str(settings.get("capture", "automatic"))
        self._timeout_ms = float(settings.get("timeout_ms", 1000))
        self._three_ds = settings.get("three_ds", "off") == "required"
        self._key = key.encode()
        self._provider = provider

    def pay(self, reference: str, amount: int, currency: str, card: str) -> str:
        """Take the money and return the payment's id. Raises PaymentFailed."""
        signature = hmac.new(self._key, f"{reference}:{amount}".encode(), hashlib.sha256).hexdigest()
        request = {"reference": reference, "amount": str(amount), "currency": currency, "card": card}
        request |= {"capture": self._capture, "signature": signature}
        if self._three_ds:
            request["challenge"] = _challenge(reference, card)
        return self._captured(request)

    def _captured(self, request: Mapping[str, str]) -> str:
        try:
            answer = self._provider.charge(request, self._timeout_ms)
        except TimeoutError as problem:
            raise PaymentFailed(str(problem)) from problem
        if answer["status"] == "captured":
            return answer["id"]
        raise PaymentFailed(answer["reason"])
