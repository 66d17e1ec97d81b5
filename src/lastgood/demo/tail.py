"""Reads what is appended to the customers' notes, a little at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lastgood.demo.shoppers import Seen


class Tail:
    """Whole new lines since the last read; a file that is not there yet is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._file = 0

    def read(self) -> list[Seen]:
        try:
            with self._path.open("rb") as file:
                if (number := os.fstat(file.fileno()).st_ino) != self._file:
                    # Another file under the same name: an earlier demonstration's is gone.
                    self._file, self._offset = number, 0
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [Seen(**{"seconds": 0.0, **json.loads(line)}) for line in whole.splitlines()]
