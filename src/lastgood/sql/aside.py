"""What a migration added, and so what its revert would lose if it were not put aside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

Part = tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """Each as its names from the outside in: of a table, or of a table and its column. ``retyped`` columns
    were there before, with another type.
    """

    tables: tuple[Part, ...] = ()
    columns: tuple[Part, ...] = ()
    retyped: tuple[Part, ...] = ()

    @classmethod
    def load(cls, text: str) -> Added:
        return cls(**{part: tuple(map(tuple, rows)) for part, rows in json.loads(text).items()})

    def dump(self) -> str:
        return json.dumps(asdict(self))


def place(*names: str | None) -> str:
    """For people: ``orders.gift``. What goes without saying is left out."""
    return ".".join(name for name in names if name)
