"""The shim's entry point, run by its path: ``python -I -S …/process/__main__.py <generation directory>``.

Isolated from the environment and from site-packages, so that it starts fast and so that nothing
installed later can break a shim that must live for months.
"""

import os
import sys


def _main() -> int:
    house = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))  # noqa: PTH100, PTH118, PTH120
    if house not in sys.path:
        sys.path.insert(0, house)
    from lastgood.drivers.process.shim import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_main())
