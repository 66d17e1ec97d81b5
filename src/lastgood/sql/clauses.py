"""A statement as a row of tokens, read clause by clause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.sql.statements import Token

_SKIPPED = ("space", "line", "block")


@dataclass(frozen=True)
class Name:
    """``text`` as it is written; ``key`` as the server keeps it, ``public`` left out."""

    text: str
    key: str

    @property
    def bare(self) -> str:
        """Without its schema."""
        return self.key.rpartition(".")[2]


NOBODY = Name("", "")


class Clause:
    """Tokens from a statement, with a place to read on from."""

    def __init__(self, found: Sequence[Token]) -> None:
        self._tokens = found
        self._at = 0

    @classmethod
    def of(cls, statement: Sequence[Token]) -> Clause:
        """All tokens of a statement, blanks and comments too."""
        return cls([t for t in statement if t.kind not in _SKIPPED])

    @property
    def over(self) -> bool:
        return self._at >= len(self._tokens)

    def peek(self, *words: str) -> bool:
        """Whether these words (in capitals) come next."""
        coming = self._tokens[self._at : self._at + len(words)]
        return len(coming) == len(words) and all(
            t.text.upper() == w and t.kind != "name" for t, w in zip(coming, words, strict=True)
        )

    def take(self, *words: str) -> bool:
        """Go past these words when they come next."""
        found = self.peek(*words)
        self._at += len(words) if found else 0
        return found

    def any_of(self, *choices: str) -> str:
        """Go past the first of these words that comes next; empty when none does."""
        return next((word for word in choices if self.take(word)), "")

    def name(self) -> Name:
        """A name, maybe with its schema."""
        parts: list[Token] = []
        while not self.over and self._tokens[self._at].kind in ("word", "name"):
            parts.append(self._tokens[self._at])
            self._at += 1
            if not self.take("."):
                break
        keys = [_key(t) for t in parts]
        if len(keys) == 2 and keys[0] == "public":
            keys = keys[1:]
        return Name(".".join(t.text for t in parts), ".".join(keys))

    def group(self) -> list[Token]:
        """What is in the parentheses that come next; none when no parenthesis does."""
        if not self.peek("("):
            return []
        depth, start = 0, self._at + 1
        while not self.over:
            kind = self._tokens[self._at].kind
            depth += (kind == "open") - (kind == "close")
            self._at += 1
            if depth == 0:
                return list(self._tokens[start : self._at - 1])
        return list(self._tokens[start:])

    def skip_to(self, *words: str) -> bool:
        """Go past the first of these words at this level."""
        depth = 0
        while not self.over:
            token = self._tokens[self._at]
            depth += (token.kind == "open") - (token.kind == "close")
            self._at += 1
            if depth == 0 and token.kind == "word" and token.text.upper() in words:
                return True
        return False

    def has(self, *words: str) -> bool:
        """Whether these words follow one another anywhere in what is left, parentheses or not."""
        rest = self.rest()
        return any(
            all(t.kind != "name" and t.text.upper() == w for t, w in zip(rest[n:], words, strict=False))
            for n in range(len(rest) - len(words) + 1)
        )

    def rest(self) -> list[Token]:
        return list(self._tokens[self._at :])

    def again(self) -> Clause:
        """What is left, to be read by itself."""
        return Clause(self.rest())


def by_comma(found: Sequence[Token]) -> list[list[Token]]:
    """Parts between the commas of this level."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in found:
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0 and token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def columns(found: Sequence[Token]) -> tuple[Name, ...]:
    """The first name of each part."""
    return tuple(Clause(part).name() for part in by_comma(found))


def written(found: Sequence[Token]) -> str:
    """Tokens as one text; what stood together stays together."""
    text, end = "", 0
    for token in found:
        text += (" " if text and token.start > end else "") + token.text
        end = token.start + len(token.text)
    return text


def _key(token: Token) -> str:
    """Backticks change no name's case; double quotes keep it."""
    if token.text.startswith("`"):
        return token.text[1:-1].replace("``", "`").lower()
    if token.kind == "name":
        return token.text.strip('"').replace('""', '"')
    return token.text.lower()
