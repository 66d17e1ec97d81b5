"""Prints the commands of a README as one script: what stands in its ``sh`` blocks, in order.

A block below a line with ``<!-- not run`` is left out, and so are lines that only make sense before there
is a checkout or that CI runs as a part of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"(?P<before>^.*\n)?^```sh\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("git clone", "cd ", "make test", "sudo ", "apt-get ")


def commands(text: str) -> list[str]:
    """The lines that are run; comments and blank lines are kept out."""
    lines: list[str] = []
    for block in BLOCK.finditer(text):
        if "<!-- not run" in (block["before"] or ""):
            continue
        lines += [line for line in block["body"].splitlines() if line.strip() and line.strip()[0] != "#"]
    return lines


def main() -> int:
    found = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(line for line in found if not line.startswith(ELSEWHERE)))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
