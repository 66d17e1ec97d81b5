"""The shop's face: a page to look at, and the calls that a customer's browser makes."""

from __future__ import annotations

import json
import sys
from typing import Any

from . import extras
from .catalogue import CartError, price_cart, products
from .database import Error, Pool
from .orders import Checkout, CheckoutFailed
from .pages import page
from .payments import PaymentClient
from .provider import Provider
from .server import Answer, Server, as_json
from .settings import Settings


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        raise CartError("the request is not JSON") from None
    if not isinstance(content, dict):
        raise CartError("the request is not an object")
    return content


class Shop:
    """One method per route; each takes the request's body and returns the answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = Pool(settings.database_url)
        provider = Provider(float(settings.payment.get("latency_ms", 4)))
        client = PaymentClient(settings.payment, settings.payment_key, provider)
        self._checkout = Checkout(self._pool, settings, client)

    def health(self, _: bytes) -> Answer:
        try:
            with self._pool.transaction() as connection:
                connection.execute("select 1")
        except Error as problem:
            return as_json(503, {"ok": False, "release": extras.RELEASE, "error": type(problem).__name__})
        return as_json(200, {"ok": True, "release": extras.RELEASE, "site": self._settings.site})

    def front(self, _: bytes) -> Answer:
        try:
            with self._pool.transaction() as connection:
                sold = products(connection, self._settings)
        except Error:
            return 503, "text/plain", b"The shop is closed for a moment."
        return 200, "text/html; charset=utf-8", page(sold, self._settings, extras.RELEASE, extras.FORM)

    def cart(self, body: bytes) -> Answer:
        try:
            with self._pool.transaction() as connection:
                lines = price_cart(connection, self._settings, _parsed(body).get("cart") or [])
        except CartError as problem:
            return as_json(400, {"error": str(problem)})
        except Error as problem:
            return as_json(503, {"error": type(problem).__name__})
        priced = [{"sku": line.product.sku, "quantity": line.quantity, "total": line.total} for line in lines]
        total = sum(line.total for line in lines)
        return as_json(200, {"lines": priced, "total": total, "currency": self._settings.currency})

    def checkout(self, body: bytes) -> Answer:
        try:
            receipt = self._checkout.buy(_parsed(body))
        except CartError as problem:
            return as_json(400, {"error": str(problem)})
        except CheckoutFailed as problem:
            print(f"checkout failed: {problem}", file=sys.stderr, flush=True)
            return as_json(problem.status, {"error": str(problem)})
        except Error as problem:
            print(f"checkout failed: database: {type(problem).__name__}", file=sys.stderr, flush=True)
            return as_json(503, {"error": type(problem).__name__})
        return as_json(
            201, {"order": receipt.order, "total": receipt.total, "currency": self._settings.currency}
        )


def run(settings: Settings, host: str, port: int) -> int:
    """Serve until SIGTERM."""
    shop = Shop(settings)
    routes = {
        ("GET", "/"): shop.front,
        ("GET", "/healthz"): shop.health,
        ("POST", "/cart"): shop.cart,
        ("POST", "/checkout"): shop.checkout,
    }
    server = Server(host, port, routes, extras.RELEASE)
    print(f"shop {extras.RELEASE} on port {server.server_port}", file=sys.stderr, flush=True)
    server.run()
    return 0
