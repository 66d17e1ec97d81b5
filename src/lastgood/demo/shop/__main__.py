"""``python <directory of this package> web|worker --config FILE [--port N] [--host A]``."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    """Run one role until SIGTERM; the exit status is 0 after a graceful stop."""
    parser = argparse.ArgumentParser(prog="shop")
    parser.add_argument("role", choices=("web", "worker"))
    parser.add_argument("--config", default=os.environ.get("LASTGOOD_CONFIG", ".") + "/shop.toml")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "0")))
    parser.add_argument("--host", default=os.environ.get("SHOP_HOST", "127.0.0.1"))
    arguments = parser.parse_args()
    # Run as a directory this file belongs to no package, so the package is imported by its own name.
    here = Path(__file__).resolve().parent
    sys.path[0] = str(here.parent)
    settings = import_module(f"{here.name}.settings")
    try:
        loaded = settings.load(Path(arguments.config), os.environ)
    except settings.SettingsError as problem:
        print(f"shop: {problem}", file=sys.stderr)
        return 2
    role = import_module(f"{here.name}.{arguments.role}")
    return int(role.run(loaded, arguments.host, arguments.port))


if __name__ == "__main__":
    sys.exit(main())
