"""A database that stands beside the live one as it was at a cut, loaded before anybody needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lastgood.domain.message import Message


class Asked(str, Enum):
    """What the settings of a database say of its copies: ``auto`` leaves it to size, room and speed."""

    AUTO = "auto"
    WARM = "warm"
    FILE = "file"


@dataclass(frozen=True)
class CopyRoom:
    """What decides whether a copy can stand by. ``size`` of the database and ``free`` on its server are
    bytes; ``free`` is None where it can't be seen and nobody has written down what may be used.
    ``obstacle``: which right is missing.
    """

    size: int
    free: int | None = None
    asked: Asked = Asked.AUTO
    obstacle: Message | None = None

    @property
    def needed(self) -> int:
        """The copy with a fifth to spare, and the log of its load, which the capture holds until then."""
        return 2 * self.size + self.size // 5


@dataclass(frozen=True)
class WarmCopy:
    """The database ``name`` of ``size`` bytes, whole at its cut and closed to everybody since.

    ``trouble`` says why it can't be used any more, empty while it can. ``proven_at``: when schema and row
    counts were found to be those of the cut; None where that was not looked at now.
    """

    name: str
    size: int
    trouble: Message = field(default_factory=lambda: Message(""))
    proven_at: datetime | None = None

    @property
    def usable(self) -> bool:
        return not self.trouble
