"""What a driver's scanner makes of a script, as far as others need it."""

from __future__ import annotations

from typing import Protocol


class Statement(Protocol):
    """One of a script: ``words`` are its bare words in capitals."""

    @property
    def text(self) -> str: ...

    @property
    def words(self) -> tuple[str, ...]: ...


class Token(Protocol):
    """A piece of a statement; ``start`` counts characters from the script's begin."""

    @property
    def text(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def start(self) -> int: ...
