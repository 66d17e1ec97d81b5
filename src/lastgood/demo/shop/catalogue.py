"""What is sold, and for how much here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .database import Connection
from .settings import Settings


class CartError(ValueError):
    """The customer's cart can't be sold."""


@dataclass(frozen=True)
class Product:
    """``price`` is in minor units of the site's currency, tax included."""

    sku: str
    name: str
    picture: str
    price: int


@dataclass(frozen=True)
class Line:
    product: Product
    quantity: int

    @property
    def total(self) -> int:
        return self.product.price * self.quantity


def price_here(base_cents: int, settings: Settings) -> int:
    """US cents to minor units of the site's currency, tax included."""
    gross = base_cents * settings.price_rate * (1 + settings.tax_rate)
    return round(gross / float(10 ** (2 - settings.minor_digits)))


def products(connection: Connection, settings: Settings) -> list[Product]:
    rows = connection.execute("select sku, name, picture, base_cents from products order by sku").fetchall()
    return [Product(sku, name, picture, price_here(cents, settings)) for sku, name, picture, cents in rows]


def price_cart(connection: Connection, settings: Settings, cart: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Lines with today's prices. Raises CartError for an empty cart, unknown goods or odd quantities."""
    if not isinstance(cart, list) or not 0 < len(cart) <= 50:
        raise CartError("a cart has 1 to 50 lines")
    known = {product.sku: product for product in products(connection, settings)}
    lines = []
    for wanted in cart:
        product = known.get(str(wanted.get("sku"))) if isinstance(wanted, dict) else None
        if product is None:
            raise CartError("the cart holds something that is not sold here")
        quantity = wanted.get("quantity", 1)
        if not isinstance(quantity, int) or not 1 <= quantity <= 99:
            raise CartError(f"{product.sku}: a quantity is 1 to 99")
        lines.append(Line(product, quantity))
    return lines


def money(minor: int, settings: Settings) -> str:
    """``12.50 EUR``."""
    return f"{minor / 10**settings.minor_digits:,.{settings.minor_digits}f} {settings.currency}"
