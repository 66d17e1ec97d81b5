"""``python -m lastgood``."""

from __future__ import annotations

import sys

from lastgood.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
