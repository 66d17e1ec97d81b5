"""What the shop is told: a rendered TOML file, and one secret from the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class SettingsError(Exception):
    """Something the shop can't run without is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """Prices are kept in US cents; a site's price is ``base * price_rate`` in its own currency.

    ``payment`` is handed to the payment client as it is. ``payment_key`` never appears in a repr.
    """

    site: str
    currency: str
    minor_digits: int
    language: str
    price_rate: float
    tax_rate: float
    database_url: str
    payment: Mapping[str, Any]
    payment_key: str = field(repr=False)


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError naming the file and the missing key."""
    key = environment.get("PAYMENT_KEY", "")
    if not key:
        raise SettingsError("the environment variable PAYMENT_KEY is not set")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        shop = content["shop"]
        return Settings(
            site=str(shop["site"]),
            currency=str(shop["currency"]),
            minor_digits=int(shop["minor_digits"]),
            language=str(shop["language"]),
            price_rate=float(shop["price_rate"]),
            tax_rate=float(shop["tax_rate"]),
            database_url=str(content["database"]["url"]),
            payment=dict(content["payment"]),
            payment_key=key,
        )
    except OSError as problem:
        raise SettingsError(f"{path}: {problem.strerror}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"{path}: {problem}") from problem
    except KeyError as problem:
        raise SettingsError(f"{path}: {problem} is missing") from problem
