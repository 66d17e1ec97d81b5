"""``python -m bench [--only NAME]``: the machine, then each bench in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """Every module here but the harness and the helpers."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def machine() -> str:
    """Processor, cores, memory, kernel and Python in one line."""
    fields = [line.split(":", 1) for line in _lines("/proc/cpuinfo") + _lines("/proc/meminfo") if ":" in line]
    known = {name.strip(): value.strip() for name, value in reversed(fields)}
    model = known.get("model name", platform.machine())
    memory = int(known.get("MemTotal", "0 kB").split()[0]) / 1024**2
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=names(), help=f"one of: {', '.join(names())}")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        return 0 if importlib.import_module(f"bench.{arguments.only}").run() else 1
    print(machine(), flush=True)
    missed = []
    for name in [arguments.only] if arguments.only else names():
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", "bench", "--here", "--only", name]
        if subprocess.run(command, check=False).returncode:
            missed.append(name)
    if missed:
        print(f"\nnot met: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
