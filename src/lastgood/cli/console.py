"""Rich's console, which leaves a reader who has gone to our own handling."""

from __future__ import annotations

import rich.console


class Console(rich.console.Console):
    def on_broken_pipe(self) -> None:
        """Called while the error is being handled; passes it on."""
        raise BrokenPipeError
