"""The front page, for people who want to see the shop that the numbers are about."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from .catalogue import Product, money
from .settings import Settings

WORDS = {
    "en": {
        "line": "Good things, sent with care.",
        "buy": "Buy",
        "done": "Order {n} placed. Thank you!",
        "bad": "Sorry, that did not work.",
    },
    "de": {
        "line": "Gute Dinge, mit Sorgfalt verschickt.",
        "buy": "Kaufen",
        "done": "Bestellung {n} ist da. Danke!",
        "bad": "Das hat leider nicht geklappt.",
    },
    "ja": {
        "line": "良いものを、ていねいにお届けします。",
        "buy": "購入",
        "done": "ご注文 {n} を承りました。",
        "bad": "申し訳ございません。購入できませんでした。",
    },
}


def page(sold: Sequence[Product], settings: Settings, release: str, form: str) -> bytes:
    """The catalogue as one HTML page with nothing to load from elsewhere."""
    words = WORDS.get(settings.language, WORDS["en"])
    cards = "".join(
        f'<article><div class="picture">{escape(p.picture)}</div><h2>{escape(p.name)}</h2>'
        f"<p>{escape(money(p.price, settings))}</p>"
        f'<button data-sku="{escape(p.sku)}">{escape(words["buy"])}</button></article>'
        for p in sold
    )
    source = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    text = source.substitute(
        language=settings.language, title="Harbour &amp; Pine", line=escape(words["line"]), cards=cards,
        form=form, site=escape(settings.site), release=escape(release),
        done=escape(words["done"]), bad=escape(words["bad"]),
    )  # fmt: skip
    return text.encode()
