"""Prints the commands of a README as one script: what stands in its ``sh`` blocks, in order.

A block below a line with ``<!-- not run`` is left out, and so are lines that only make sense before there
is a checkout or that CI runs as a part of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

ELSEWHERE = ("git clone", "cd ", "make test", "sudo ", "apt-get ")


def commands(text: str) -> list[str]:
    """The lines that are run; comments and blank lines are kept out."""
    found: list[str] = []
    fence, before = "", ""
    for line in text.splitlines():
        if line.startswith("```"):
            opened = line == "```sh" and "<!-- not run" not in before
            fence = "" if fence else ("run" if opened else "other")
        elif fence == "run" and line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
        before = line
    return found


def main() -> int:
    found = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(line for line in found if not line.startswith(ELSEWHERE)))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
