"""What a script asks of us in its comments: ``-- lastgood: undo rows``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lastgood.sql.statements import Token

NO_TRANSACTION = "no transaction"
UNDO_ROWS = "undo rows"
AFTER_THE_LAST_WAVE = "after the last wave"
_MARK = re.compile(r"--\s*lastgood:\s*(.+?)\s*")


def marks(tokens: Iterable[Token]) -> frozenset[str]:
    """In small letters; a comment of a line is a token of the kind ``line``."""
    found = (_MARK.fullmatch(token.text) for token in tokens if token.kind == "line")
    return frozenset(" ".join(match[1].lower().split()) for match in found if match)
