"""A checkout: the attempt is on record before any money moves, the order after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import extras
from .catalogue import CartError, Line, price_cart
from .database import Connection, Error, Pool, clock, insert_once
from .payments import PaymentClient, PaymentFailed
from .settings import Settings

SCHEMES = {"4": "visa", "5": "mastercard", "37": "amex", "35": "jcb", "62": "unionpay"}


class CheckoutFailed(Exception):
    """Nothing was bought; ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Receipt:
    order: int
    total: int


def scheme(card: str) -> str:
    """``amex`` for a number that begins with 37, and so on; empty when unknown."""
    return SCHEMES.get(card[:2]) or SCHEMES.get(card[:1], "")


class Checkout:
    """Sells carts; safe to use from several threads."""

    def __init__(self, pool: Pool, settings: Settings, payments: PaymentClient) -> None:
        self._pool = pool
        self._settings = settings
        self._payments = payments

    def buy(self, request: Mapping[str, Any]) -> Receipt:
        """Buy ``request["cart"]`` once per ``request["key"]``, however often it is asked.

        Raises CartError, or CheckoutFailed with 502 when the payment failed and 409 while another
        request with the same key is still open.
        """
        key, customer = str(request.get("key") or ""), str(request.get("customer") or "")
        card = str(request.get("card") or "").replace(" ", "")
        if not key or not customer or not card.isdigit() or not scheme(card):
            raise CartError("a checkout needs key, customer and card")
        with self._pool.transaction() as connection:
            lines = price_cart(connection, self._settings, request.get("cart") or [])
            earlier = self._open_attempt(connection, key, customer, lines)
        if earlier is not None:
            return earlier
        total = sum(line.total for line in lines)
        try:
            payment = self._payments.pay(key, total, self._settings.currency, card)
            return self._record(request, key, customer, lines, payment, card)
        except (PaymentFailed, *Error) as problem:
            self._fail(key, str(problem))
            raise CheckoutFailed(502, f"{scheme(card)}: {problem}") from problem

    def _open_attempt(
        self, connection: Connection, key: str, customer: str, lines: list[Line]
    ) -> Receipt | None:
        """None when this request is the first with its key and has the attempt on record now."""
        total = sum(line.total for line in lines)
        row = 'attempts ("key", customer, total) values (%s, %s, %s)'
        if insert_once(connection, row, (key, customer, total)):
            return None
        found = connection.execute(
            "select a.state, a.reason, o.id, o.total from attempts a"
            ' left join orders o on o.attempt = a."key" where a."key" = %s',
            (key,),
        ).fetchone()
        if found and found[0] == "ok":
            return Receipt(found[2], found[3])
        if found and found[0] == "failed":
            raise CheckoutFailed(502, found[1])
        raise CheckoutFailed(409, "this checkout is already being worked on")

    def _record(
        self,
        request: Mapping[str, Any],
        key: str,
        customer: str,
        lines: list[Line],
        payment: str,
        card: str,
    ) -> Receipt:
        total = sum(line.total for line in lines)
        with self._pool.transaction() as connection:
            row = connection.execute(
                'insert into orders (attempt, customer, total, currency, remark, "release")'
                " values (%s, %s, %s, %s, %s, %s) returning id",
                (
                    key,
                    customer,
                    total,
                    self._settings.currency,
                    str(request.get("remark") or ""),
                    extras.RELEASE,
                ),
            ).fetchone()
            assert row is not None
            order = int(row[0])
            for position, line in enumerate(lines, 1):
                connection.execute(
                    "insert into order_lines (order_id, position, sku, quantity, price)"
                    " values (%s, %s, %s, %s, %s)",
                    (order, position, line.product.sku, line.quantity, line.product.price),
                )
            connection.execute(
                "insert into payments (id, order_id, amount, scheme, last_four) values (%s, %s, %s, %s, %s)",
                (payment, order, total, scheme(card), card[-4:]),
            )
            extras.keep(connection, order, request)
            connection.execute(
                f"update attempts set state = 'ok', finished_at = {clock(connection)} where \"key\" = %s",
                (key,),
            )
        return Receipt(order, total)

    def _fail(self, key: str, reason: str) -> None:
        with self._pool.transaction() as connection:
            connection.execute(
                f"update attempts set state = 'failed', reason = %s, finished_at = {clock(connection)}"
                " where \"key\" = %s and state = 'pending'",
                (reason[:200], key),
            )
